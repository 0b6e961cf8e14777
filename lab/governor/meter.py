"""Who uses what right now, from whatever counts it: operations, the system's meters, samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from lab.governor.blame import Resource, Use
from lab.history import Op

WINDOW_SECONDS, LEVEL_SECONDS = 2.0, 0.5
"""What grows is averaged over the first, so that one heavy request, or a burst that was saved up,
is not much: 0.4 s of CPU at once are 0.2 cores, and the floor is above that (`blame.FLOORS`). It is
a sum that alarms as soon as it is full, however short that took: a cumulative sum with a window in
the place of a slack (Page, Biometrika 41, 1954). Who keeps a core busy is over the floor after
0.45 s. To look at less than that would blame whoever asks for one heavy thing in a bad moment.
What is held is averaged over the second."""

FADES_SECONDS = 2.5
"""A reading older than this tells nothing any more: who counts may be overwhelmed as well."""

GROWING: Mapping[str, tuple[Resource, float]] = {
    "requests": (Resource.REQUESTS, 1.0),
    "asked": (Resource.REQUESTS, 1.0),
    "cpu_ms": (Resource.CPU, 1e-3),
    "agent_cpu_ms": (Resource.CPU, 1e-3),
    "cpu_seconds": (Resource.CPU, 1.0),
    "knocks": (Resource.SOCKETS, 1.0),
    "database_ms": (Resource.DATABASE, 4e-3),  # of work alone, nobody's waiting is in it
}
LEVELS: Mapping[str, tuple[Resource, float]] = {
    "held": (Resource.DATABASE, 1.0),
    "active": (Resource.DATABASE, 1.0),
    "sockets": (Resource.SOCKETS, 1.0),
    "memory_mb": (Resource.MEMORY, 1.0),
    "memory_bytes": (Resource.MEMORY, 2.0**-20),
}
"""A meter's name -> the resource, and a unit of the one in the other. Where several count the same,
the largest is believed: each may miss something, and none makes anything up."""


@dataclass
class Track:
    """The latest readings of one number: (when, how much)."""

    readings: deque[tuple[float, float]] = field(default_factory=deque[tuple[float, float]])

    def see(self, at_seconds: float, value: float) -> None:
        """One reading; the last one before the window is kept, as what growth counts from."""
        if self.readings and at_seconds <= self.readings[-1][0]:
            return  # seen already
        self.readings.append((at_seconds, value))
        while len(self.readings) > 2 and self.readings[1][0] <= at_seconds - WINDOW_SECONDS:
            self.readings.popleft()

    def fresh(self, now_seconds: float) -> bool:
        """Whether there is a reading that still tells something."""
        return bool(self.readings) and self.readings[-1][0] > now_seconds - FADES_SECONDS

    @property
    def growth(self) -> float:
        """Per second of the window; a counter that began anew has grown by what it says now.

        Of a step that began before the window, only the window's share counts: after a long silence
        the next reading would else be spread over all of it, or make up for all of it.
        """
        since = self.readings[-1][0] - WINDOW_SECONDS
        grown = 0.0
        for (began, was), (ended, now) in pairwise(self.readings):
            share = (ended - max(began, since)) / (ended - began)
            grown += share * (now - was if now >= was else now)
        return grown / WINDOW_SECONDS

    @property
    def level(self) -> float:
        """The mean of the latest readings."""
        since = self.readings[-1][0] - LEVEL_SECONDS
        latest = [value for at, value in self.readings if at >= since]
        return sum(latest) / len(latest)


class Meter:
    """Remembers what a window needs, by tenant and name."""

    def __init__(self) -> None:
        self._tracks: dict[str, dict[str, Track]] = {}
        self._asked: dict[str, int] = {}

    def see(self, now_seconds: float, ops: Iterable[Op]) -> None:
        """Operations that ended: whatever was sent is a request."""
        for op in ops:
            if op.sent_ns:
                self._asked[op.tenant] = self._asked.get(op.tenant, 0) + 1
        for tenant, number in self._asked.items():
            self._track(tenant, "asked").see(now_seconds, float(number))

    def read(self, now_seconds: float, tenant: str, values: Mapping[str, float]) -> None:
        """What the system or a sampler counts for a tenant."""
        for name, value in values.items():
            self._track(tenant, name).see(now_seconds, value)
        if "accepted" in values:
            let_in_or_not = values["accepted"] + values.get("refused", 0.0)
            self._track(tenant, "requests").see(now_seconds, let_in_or_not)

    def refusals(self, now_seconds: float, tenant: str) -> float:
        """How often a second the system refuses the tenant something."""
        track = self._tracks.get(tenant, {}).get("refused")
        return track.growth if track and track.fresh(now_seconds) else 0.0

    def use(self, now_seconds: float) -> Use:
        """Everybody's use."""
        return {
            tenant: _largest(tracks, now_seconds) for tenant, tracks in sorted(self._tracks.items())
        }

    def _track(self, tenant: str, name: str) -> Track:
        return self._tracks.setdefault(tenant, {}).setdefault(name, Track())


def _largest(tracks: Mapping[str, Track], now_seconds: float) -> dict[Resource, float]:
    found: dict[Resource, float] = {}
    for resource, amount in _amounts(tracks, now_seconds):
        found[resource] = max(amount, found.get(resource, 0.0))
    return found


def _amounts(tracks: Mapping[str, Track], now_seconds: float) -> Iterator[tuple[Resource, float]]:
    for name, track in tracks.items():
        if not track.fresh(now_seconds):
            continue
        if name in GROWING:
            resource, unit = GROWING[name]
            yield resource, track.growth * unit
        elif name in LEVELS:
            resource, unit = LEVELS[name]
            yield resource, track.level * unit
