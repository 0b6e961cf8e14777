"""What the governor remembers of one tenant whom it deals with. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.governor.blame import FLOORS, Amounts, Blame, Resource, Use
from lab.governor.measures import Measure, ladder

SETTLE_SECONDS, SETTLE_FACTOR = 0.3, 4
"""The first step gets this long to show, and each further one so many times longer: what is hard on
a tenant has to be needed."""

CALM_SECONDS = 1.5
"""A tenant who has not pressed for this long gets everything back."""

CALM_REFUSALS = 1.0
"""Refusals a second that a calm tenant may still run into."""


@dataclass
class Climb:
    """How far up one resource's ladder the governor is. Times are monotonic seconds."""

    rung: int = 0
    patient_until: float = 0.0


@dataclass
class Case:
    """How far the governor has gone against the tenant, and since when that has been calm."""

    tenant: str
    climbs: dict[Resource, Climb] = field(default_factory=dict[Resource, Climb])
    calm_since: float | None = None

    def next(self, now: float, blames: Sequence[Blame], usual: Use) -> tuple[Measure, ...]:
        """The next rung for each thing that it is blamed for, unless the last may still show.

        After the last resort come again those steps that are over at once, as cancelling queries.
        """
        self.calm_since = None
        found: list[Measure] = []
        for each in blames:
            climb, rungs = self.climbs.setdefault(each.resource, Climb()), ladder(each, usual)
            if climb.rung >= len(rungs):
                rungs = tuple((step,) for rung in rungs for step in rung if not step.lasts)
            if now >= climb.patient_until and rungs:
                found += rungs[climb.rung % len(rungs)]
                climb.patient_until = now + SETTLE_SECONDS * SETTLE_FACTOR ** min(climb.rung, 3)
                climb.rung += 1
        return tuple(dict.fromkeys(found))

    def calm(self, now: float, *, presses: bool) -> bool:
        """Whether it has been calm for long enough, this moment included."""
        if presses:
            self.calm_since = None
        elif self.calm_since is None:
            self.calm_since = now
        return self.calm_since is not None and now - self.calm_since >= CALM_SECONDS


def presses(use: Amounts, usual: Amounts, refused_per_second: float) -> bool:
    """Whether a tenant still uses much more than before, or runs into its caps."""
    grown = (use.get(r, 0.0) - usual.get(r, 0.0) > floor / 2 for r, floor in FLOORS.items())
    return any(grown) or refused_per_second > CALM_REFUSALS
