"""Faults on the services that others depend on: they fail over, hang, or answer with errors.

A service that is simply away is `down` on its link, or `kill` and `stop`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from anyio import sleep

from faults.checks import within
from faults.effects import either, slowed, starved
from faults.marks import mark
from faults.stores import grown, hampered
from faults.targets import OnLink, OnService
from lab.fault import Effect, Window
from lab.hands import Lab, Toxic


@dataclass(frozen=True, slots=True)
class Failover(OnService):
    """The service stops, is away for `away_ms`, and comes back: a failover as clients see it."""

    away_ms: int
    kind: ClassVar[str] = "failover"

    def __post_init__(self) -> None:
        within(self.kind, "away_ms", self.away_ms, 0, 60_000)

    async def inject(self, lab: Lab) -> None:
        """Returns when its process runs again, which is before it is ready."""
        await lab.containers.stop(self.service)
        await sleep(self.away_ms / 1e3)
        await lab.containers.start(self.service)

    async def heal(self, lab: Lab) -> None:
        """Start it; one that runs is left alone."""
        await lab.containers.start(self.service)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """When its process began, in seconds since 1970."""
        started = (await lab.containers.state(self.service)).started
        return {f"{self.service}.started_seconds": _seconds(started)}

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when its process is another one: who was connected to it has felt that."""
        seen = grown(during, {f"{self.service}.started_seconds": "s later it began anew"}, 1e-3)
        traffic = hampered(before, during)
        observed = {**seen.observed, **traffic.observed}
        return Effect(seen.bit, f"{seen.how}; {traffic.how}", observed)


@dataclass(frozen=True, slots=True)
class Hang(OnLink):
    """Requests get through and are worked on; the answers never come back, until the heal.

    On heal the silent connections are closed, which the clients see as a reset.
    """

    kind: ClassVar[str] = "hang"

    async def inject(self, lab: Lab) -> None:
        """Silence on the way back only."""
        await lab.links.add(self.link, Toxic(mark(self), "timeout", "downstream", {"timeout": 0}))

    async def heal(self, lab: Lab) -> None:
        """Let answers pass again."""
        await lab.links.remove(self.link, mark(self))

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations took twice as long, or half of them were not answered."""
        return either(slowed(before, during), starved(before, during))


@dataclass(frozen=True, slots=True)
class HttpError(OnService):
    """A stub answers every request with this HTTP `status`; the stack file says how it is told."""

    status: int = 503
    kind: ClassVar[str] = "http_error"

    def __post_init__(self) -> None:
        within(self.kind, "status", self.status, 400, 599)

    async def inject(self, lab: Lab) -> None:
        """Tell the stub."""
        await lab.stubs.fail(self.service, self.status)

    async def heal(self, lab: Lab) -> None:
        """Tell it to answer as ever."""
        await lab.stubs.mend(self.service)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a twentieth of the operations was lost, or they took twice as long."""
        return hampered(before, during)


def _seconds(started: str) -> float:
    """The engine's time (RFC 3339, nanoseconds) as seconds since 1970."""
    return datetime.fromisoformat(started[:26].rstrip("Z") + "+00:00").timestamp()
