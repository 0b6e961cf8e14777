"""Bounds on what a monitor reads, and what it tells when one is passed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lab.resources import Kind, Source


@dataclass(frozen=True, slots=True)
class Bound:
    """What a reading must not exceed for longer than `for_seconds`.

    rate: bound its growth per second instead of its level, measured over the last `over_seconds`
    (0: since the reading before). kinds: whose readings; none is everybody's.
    """

    metric: str
    above: float
    for_seconds: float = 0.0
    rate: bool = False
    over_seconds: float = 0.0
    kinds: frozenset[Kind] = frozenset()


RUNAWAY_CPU = Bound("cpu_seconds", 0.8, for_seconds=10.0, rate=True, kinds=frozenset({Kind.AGENT}))
"""A tenant's process that keeps over 80 % of a core busy for long (requirement R3)."""

GROWTH = Bound(
    "memory_bytes", 50e6 / 60, rate=True, over_seconds=20.0, kinds=frozenset({Kind.AGENT})
)
"""50 MB a minute, which has to be found within one (requirement R3)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A bound that has been exceeded, since when, and by how much at the last reading."""

    source: Source
    bound: Bound
    since_ns: int
    at_ns: int
    value: float

    def __str__(self) -> str:
        unit = f"{self.bound.metric} a second" if self.bound.rate else self.bound.metric
        seconds = (self.at_ns - self.since_ns) / 1e9
        who = f"{self.source.kind} {self.source.name} (pid {self.source.pid})"
        return f"{who}: {self.value:.4g} {unit}, above {self.bound.above:.4g} for {seconds:.1f} s"


class Watch:
    """One bound on one source: pure but for what it remembers."""

    def __init__(self, source: Source, bound: Bound) -> None:
        self._source, self._bound = source, bound
        self._over_ns = max(1, int(bound.over_seconds * 1e9))
        self._past: deque[tuple[int, float]] = deque()
        self._since_ns: int | None = None
        self._told = False

    def see(self, at_ns: int, reading: float) -> Violation | None:
        """The violation, once for every time that the bound is passed."""
        value = self._value(at_ns, reading)
        if value is None:
            return None
        if value <= self._bound.above:
            self._since_ns, self._told = None, False
            return None
        since_ns = self._since_ns = at_ns if self._since_ns is None else self._since_ns
        if self._told or at_ns - since_ns < self._bound.for_seconds * 1e9:
            return None
        self._told = True
        return Violation(self._source, self._bound, since_ns, at_ns, value)

    def _value(self, at_ns: int, reading: float) -> float | None:
        """The level, or the growth per second since the latest reading that is old enough."""
        if not self._bound.rate:
            return reading
        past, old_ns = self._past, at_ns - self._over_ns
        while len(past) > 1 and past[1][0] <= old_ns:
            past.popleft()
        first = past[0] if past else None
        past.append((at_ns, reading))
        if first is None or first[0] > old_ns:
            return None
        return (reading - first[1]) * 1e9 / (at_ns - first[0])
