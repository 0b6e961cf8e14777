"""ResourceLeakDetector: says while a run goes on who keeps something of every request.

It reads what a ResourceMonitor reads and counts requests as they end; `lab/verifiers/leaks.py`
judges the same way afterwards, with a control and with everything that is counted exactly.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lab.history import Op, Outcome
from lab.resources import Kind, Sample, Source
from lab.stats.leaks import JUDGED, Growth, growth

WARM_UP_SECONDS = 15.0
EVERY_SECONDS = 3.0
"""How often a source that has grown is looked at."""
POINTS_MAX = 60
"""Readings that are kept of a source; beyond, every other one goes: a look has to stay cheap."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Somebody grows with every request; `at_ns` is monotonic."""

    source: Source
    metric: str
    growth: Growth
    at_ns: int

    def __str__(self) -> str:
        slope = self.growth.slope
        return (
            f"{self.source.kind} {self.source.name} (pid {self.source.pid}) grows by"
            f" {slope.slope:.0f} [{slope.lower:.0f}, {slope.upper:.0f}] bytes a request,"
            f" over {self.growth.requests} requests"
        )


@dataclass
class _Track:
    """What was read of one source; `spacing_ns` apart at least."""

    since: float
    looked: float = 0.0
    spacing_ns: int = 150_000_000  # below the monitor's own, which is not exact
    told: bool = False
    at: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def keep(self, at_ns: int, value: float) -> bool:
        """Whether the reading is kept, or was too soon."""
        if self.at and at_ns < self.at[-1] + self.spacing_ns:
            return False
        self.at.append(at_ns)
        self.values.append(value)
        if len(self.at) > POINTS_MAX:
            self.at, self.values, self.spacing_ns = (
                self.at[::2],
                self.values[::2],
                2 * self.spacing_ns,
            )
        return True

    @property
    def rising(self) -> bool:
        """Whether it has grown at all, which costs nothing to see."""
        return self.values[-1] > self.values[0]


class ResourceLeakDetector:
    """Fed with samples and operations from any thread; calls `on_leak` once for each leak.

    epoch_ns: from when operations count their times (monotonic). warm_up_seconds: how long after
    its first sample a source may grow as it likes.
    """

    def __init__(
        self,
        on_leak: Callable[[Leak], None],
        *,
        epoch_ns: int = 0,
        warm_up_seconds: float = WARM_UP_SECONDS,
    ) -> None:
        self._on_leak, self._epoch_ns, self._warm_up = on_leak, epoch_ns, warm_up_seconds
        self._done: dict[str, array[int]] = {}
        self._everybody: array[int] = array("q")
        self._tracks: dict[Source, _Track] = {}
        self._lock = threading.Lock()

    def see(self, batch: Sequence[Op]) -> None:
        """Requests that have been answered."""
        with self._lock:
            for op in batch:
                if op.outcome is Outcome.OK:
                    done_ns = self._epoch_ns + op.done_ns
                    self._done.setdefault(op.tenant, array("q")).append(done_ns)
                    self._everybody.append(done_ns)

    def take(self, sample: Sample) -> None:
        """A sample; now and then its source is looked at."""
        judged = JUDGED.get(sample.source.kind)
        if judged is None or judged.metric not in sample.values:
            return
        now = sample.at_ns / 1e9
        with self._lock:
            track = self._tracks.get(sample.source)
            if track is None:
                track = self._tracks[sample.source] = _Track(now)
            if now < track.since + self._warm_up:
                return
            if track.told or not track.keep(sample.at_ns, sample.values[judged.metric]):
                return
            if now < track.looked + EVERY_SECONDS or not track.rising:
                return
            track.looked = now
            grown = growth(np.array(track.at), np.array(track.values), self._requests(sample))
            track.told = grown.leaks(judged.above_bytes)
        if track.told:
            self._on_leak(Leak(sample.source, judged.metric, grown, sample.at_ns))

    def _requests(self, sample: Sample) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """A tenant's own requests; for a service, everybody's."""
        shared = sample.source.kind is Kind.CONTAINER
        done = self._everybody if shared else self._done.get(sample.source.name, ())
        return np.sort(np.array(done, np.int64))
