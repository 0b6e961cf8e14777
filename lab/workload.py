"""Who does what, how often: cohorts of tenants, their behaviours, and how hard they push."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from lab.actions import Action, Step
from lab.arrivals import POISSON, Schedule
from lab.system import Tenant

Behaviour = Callable[[Tenant, Random], Iterator[Step]]
"""An endless stream of steps for one tenant: pure, seeded, no I/O; a module-level function."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """A named group of tenants with an entrance of its own, so that a fault can hit it alone.

    quotas: what its tenants were sold, where that is not what everybody has: kind -> amount, in the
    words of the system's driver (`lab.system.Governed`).
    """

    name: str
    size: int
    quotas: Mapping[str, float] = field(default_factory=dict[str, float], hash=False)

    @property
    def tenants(self) -> tuple[str, ...]:
        """`quiet-0`, `quiet-1`, ..."""
        return tuple(f"{self.name}-{n}" for n in range(self.size))


@dataclass(frozen=True, slots=True)
class Workload:
    """What every tenant of a cohort does: open loop, `per_second` arrivals each.

    in_flight_max bounds a tenant's unfinished actions; what is due beyond is dropped, and counted.
    actions names what the behaviour yields, so that fitness can be told before anything starts.
    schedule: how the arrivals come (lab/arrivals.py).
    """

    cohort: str
    behaviour: Behaviour
    per_second: float
    actions: frozenset[type[Action]]
    in_flight_max: int = 64
    deadline_seconds: float = 5.0
    schedule: Schedule = POISSON
