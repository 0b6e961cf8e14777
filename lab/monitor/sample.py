"""What a monitor sees: readings that name what they were read from, and bounds on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """What is measured: a container's cgroup (by its first process), or one process.

    name: the service or tenant, as people call it; container: the engine's id; pid: on this host;
    started: when that process began, in clock ticks since boot, for a pid alone is no identity.
    """

    name: str
    container: str
    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. Units are in the names: `cpu_seconds` only grows, `memory_bytes` is a level."""

    source: Source
    at_ns: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a reading must not exceed for longer than `for_seconds`.

    rate: bound its growth per second (of a reading that only grows) instead of its level.
    """

    metric: str
    above: float
    for_seconds: float = 0.0
    rate: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    """A bound that has been exceeded, since when, and by how much at the last reading."""

    source: Source
    bound: Bound
    since_ns: int
    at_ns: int
    value: float


class Watch:
    """One bound on one source: pure but for what it remembers."""

    def __init__(self, source: Source, bound: Bound) -> None:
        self._source, self._bound = source, bound
        self._last: tuple[int, float] | None = None
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
        if not self._bound.rate:
            return reading
        last, self._last = self._last, (at_ns, reading)
        if last is None or at_ns <= last[0]:
            return None
        return (reading - last[1]) * 1e9 / (at_ns - last[0])
