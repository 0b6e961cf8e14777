"""The time of day inside one service is wrong; the host's clock is never touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from faults.checks import within
from lab.errors import UsageError
from lab.fault import Effect, Window
from lab.hands import Lab

DAY_SECONDS = 86_400.0
NOTICEABLE = 0.5
"""A service whose clock reads this share of the asked offset has felt it; a tick is no evidence."""


@dataclass(frozen=True, slots=True)
class Skew:
    """Every process of `service` reads a time of day `offset_seconds` ahead (below 0: behind).

    offset_seconds: up to 366 days either way, a tenth of a second at least. `service` is one of
    `x-lab.clocks`; its programs must ask the C library for the time (a library is preloaded): a
    static binary feels nothing. Time-outs and intervals go by the monotonic clock, which stays
    true, as it does on a machine whose time of day is set.
    """

    service: str
    offset_seconds: float
    kind: ClassVar[str] = "skew"
    needs: ClassVar[frozenset[str]] = frozenset({"clocks"})

    def __post_init__(self) -> None:
        name = "offset_seconds"
        within(self.kind, name, self.offset_seconds, -366 * DAY_SECONDS, 366 * DAY_SECONDS)
        if abs(self.offset_seconds) < 0.1:
            raise UsageError(f"{name}={self.offset_seconds!r} is no skew", where=self.kind)

    @property
    def target(self) -> str:
        """Whose clock it is."""
        return f"clock of {self.service}"

    async def inject(self, lab: Lab) -> None:
        """Set the offset; the next look at the time shows it."""
        await lab.clocks.skew(self.service, float(self.offset_seconds))

    async def heal(self, lab: Lab) -> None:
        """The true time again."""
        await lab.clocks.skew(self.service, 0.0)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """What a process inside reads, against this host's clock; 0 where the service's own cannot.

        Whoever looks has the library preloaded; what counts is that the service has, too.
        """
        heeded = await lab.clocks.heeded(self.service)
        seconds = await lab.clocks.offset_seconds(self.service) if heeded else 0.0
        return {f"clock.{self.service}.offset_seconds": seconds}

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a process inside reads at least half of the asked offset."""
        seen = during.counters.get(f"clock.{self.service}.offset_seconds", 0.0)
        asked = float(self.offset_seconds)
        how = f"a process inside reads {seen:+.1f} s, asked {asked:+g} s"
        return Effect(seen / asked >= NOTICEABLE, how, {"offset_seconds": seen})
