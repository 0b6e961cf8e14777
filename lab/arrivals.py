"""When the actions of one tenant are due: small values, drawn from the seed before anything runs.

Open loop: nothing that the system does changes them (Schroeder et al., "Open Versus Closed: A
Cautionary Tale", NSDI 2006). A workload has one of these as its `schedule`; each draws on a stream
of its own, so that the same seed gives the same due times, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import merge
from random import Random
from typing import NamedTuple, Protocol

from lab.errors import UsageError

Gate = tuple[tuple[float, float], ...]
"""Seconds since the phase's start in which a workload is active: rising, half-open windows."""


class Draw(NamedTuple):
    """What due times are drawn from: a stream, a rate, the gate; the tenant is number `place` of
    its cohort's `of`."""

    rng: Random
    per_second: float
    gate: Gate
    place: int = 0
    of: int = 1


class Schedule(Protocol):
    """A rule for due times."""

    def due_ns(self, draw: Draw) -> Iterator[int]:
        """Rising nanoseconds since the phase's start, all of them inside the gate's windows."""
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals, as of many people who know nothing of each other; the clock of the
    process stands still while the gate is shut."""

    def due_ns(self, draw: Draw) -> Iterator[int]:
        """See Schedule."""
        return _opened(_exponential(draw.rng, draw.per_second), draw.gate)


POISSON = Poisson()


@dataclass(frozen=True, slots=True)
class Constant:
    """Evenly spaced, as of a machine; the first at a drawn moment, so that tenants do not march
    in step."""

    def due_ns(self, draw: Draw) -> Iterator[int]:
        """See Schedule."""
        return _opened(_even(draw.rng, draw.per_second), draw.gate)


@dataclass(frozen=True, slots=True)
class Ramp:
    """Poisson arrivals whose rate goes in a line from the workload's to `to_per_second`.

    It starts to at `after_seconds` into the phase and is there `over_seconds` later; it stays.
    """

    to_per_second: float
    over_seconds: float
    after_seconds: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.to_per_second >= 0 and self.over_seconds > 0 and self.after_seconds >= 0)

    def rate(self, per_second: float, at_seconds: float) -> float:
        """Arrivals a second at this moment of the phase."""
        share = min(1.0, max(0.0, (at_seconds - self.after_seconds) / self.over_seconds))
        return per_second + (self.to_per_second - per_second) * share

    def due_ns(self, draw: Draw) -> Iterator[int]:
        """See Schedule."""
        return _thinned(draw, self.to_per_second, self.rate)


@dataclass(frozen=True, slots=True)
class Spikes:
    """Poisson arrivals at the workload's rate, but `to_per_second` for `for_seconds` again and
    again: first at `first_seconds` into the phase, then every `every_seconds`."""

    to_per_second: float
    for_seconds: float
    every_seconds: float
    first_seconds: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.to_per_second >= 0 and self.first_seconds >= 0)
        _check(self, 0 < self.for_seconds <= self.every_seconds)

    def rate(self, per_second: float, at_seconds: float) -> float:
        """Arrivals a second at this moment of the phase."""
        since = at_seconds - self.first_seconds
        inside = since >= 0 and since % self.every_seconds < self.for_seconds
        return self.to_per_second if inside else per_second

    def due_ns(self, draw: Draw) -> Iterator[int]:
        """See Schedule."""
        return _thinned(draw, self.to_per_second, self.rate)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Due times as they were once, one rising tuple for each tenant of then; no rate is asked.

    The tenant of then number k is played by the cohort's tenant k modulo its size, so who pushed
    hard alone still does. Made from a file by `lab.load.recorded.recorded`.
    """

    tenants_due_ns: tuple[tuple[int, ...], ...]

    def due_ns(self, draw: Draw) -> Iterator[int]:
        """See Schedule."""
        windows = [(round(start * 1e9), round(end * 1e9)) for start, end in draw.gate]
        for due_ns in merge(*self.tenants_due_ns[draw.place :: draw.of]):
            if any(start <= due_ns < end for start, end in windows):
                yield due_ns


def _check(value: Schedule, is_sound: bool) -> None:
    if not is_sound:
        raise UsageError(f"no such schedule: {value}", mend="rates from 0 on, times above 0")


def _exponential(rng: Random, per_second: float) -> Iterator[float]:
    """The gaps of a Poisson process, in nanoseconds; none at a rate of 0."""
    per_ns, draw = per_second / 1e9, rng.expovariate
    while per_ns > 0:
        yield draw(per_ns)


def _even(rng: Random, per_second: float) -> Iterator[float]:
    """Equal gaps after a first that is a drawn part of one; none at a rate of 0."""
    if per_second > 0:
        gap_ns = 1e9 / per_second
        yield gap_ns * rng.random()
        while True:
            yield gap_ns


def _thinned(
    draw: Draw, to_per_second: float, rate: Callable[[float, float], float]
) -> Iterator[int]:
    """A Poisson process whose rate changes: one at the highest, each arrival of which stays with
    the probability rate / highest (Lewis and Shedler, "Simulation of nonhomogeneous Poisson
    processes by thinning", Naval Research Logistics 26, 1979)."""
    highest = max(draw.per_second, to_per_second)
    for due_ns in _opened(_exponential(draw.rng, highest), draw.gate):
        if draw.rng.random() * highest < rate(draw.per_second, due_ns / 1e9):
            yield due_ns


def _opened(gaps: Iterator[float], gate: Gate) -> Iterator[int]:
    """A process on the gate's own time: the clock stands still while the gate is shut."""
    at_ns = next(gaps, None)
    if at_ns is None:
        return
    for start, end in gate:
        start_ns, width_ns = round(start * 1e9), round(end * 1e9) - round(start * 1e9)
        while at_ns < width_ns:
            yield start_ns + int(at_ns)
            at_ns += next(gaps)
        # What is left of this gap goes on in the next window: exponential gaps forget what came
        # before, and even ones shall not notice that time stood still.
        at_ns -= width_ns
