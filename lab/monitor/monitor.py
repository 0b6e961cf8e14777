"""ResourceMonitor: samples containers and processes at a steady rate, and calls back on violation.

It runs in a thread of its own and costs a system call a source and tick, and more of them where
less often is enough (`readers.Pace`). It never measures itself in a source's place: a source that
has gone is told as gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from lab.errors import UsageError
from lab.monitor.readers import (
    LEVELS,
    SLOW,
    TICK,
    CgroupReader,
    Pace,
    ProcessReader,
    Reader,
)
from lab.monitor.sample import Bound, Violation, Watch
from lab.resources import Sample, Source

OnSample = Callable[[Sample], None]
OnViolation = Callable[[Violation], None]
OnGone = Callable[[Source], None]
PER_SECOND_MAX = 20.0
LEVEL_SECONDS, SLOW_SECONDS = 0.2, 1.0


class Feed(Protocol):
    """Something that finds sources or brings samples, asked once a second."""

    def poll(self, monitor: ResourceMonitor) -> None:
        """Watch what is new, take what has come; never waits. In the monitor's thread."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(slots=True)
class _Known:
    """What is remembered of a source."""

    watches: list[tuple[str, Watch]]
    latest: Sample


def _ignore(_: object) -> None:
    """Nobody listens."""


class ResourceMonitor(AbstractContextManager["ResourceMonitor"]):
    """`with ResourceMonitor(...) as monitor:` samples until the block is left.

    per_second: ticks, up to 20: CPU time is read at every one, levels every `level_seconds` at
    most, the rest once a second; bounds: what is watched on every source. Callbacks run one after
    another, in the monitor's thread (or where `take` was called), and must be quick; one that
    raises ends the monitor, and leaving the block raises what it raised. Methods may be called from
    any thread.
    """

    def __init__(
        self,
        *,
        per_second: float = 1.0,
        bounds: Iterable[Bound] = (),
        on_violation: OnViolation = _ignore,
        on_gone: OnGone = _ignore,
    ) -> None:
        if not 0 < per_second <= PER_SECOND_MAX:
            raise UsageError(f"per_second={per_second:g} cannot be", mend=f"up to {PER_SECOND_MAX}")
        self._period = 1.0 / per_second
        self._bounds = tuple(bounds)
        self._on_violation, self._on_gone = on_violation, on_gone
        self._readers: dict[Source, Reader] = {}
        self._known: dict[Source, _Known] = {}
        self._untold: list[Sample] = []
        self._levels_due = self._slow_due = self._poll_due = 0.0
        self._listeners: list[OnSample] = []
        self._feeds: list[Feed] = []
        self._lock = threading.RLock()
        self._inside = threading.Lock()  # held in the block; cheaper to wait for than an Event
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._failure: BaseException | None = None
        self.cpu_seconds = 0.0
        """What the monitor's thread has cost so far."""
        self.level_seconds = LEVEL_SECONDS
        """How often levels are read, and what was read is told: who acts on it wants it sooner."""
        self.poll_seconds = SLOW_SECONDS
        """How often feeds are asked; as long as a new process may go unnoticed."""
        self.paused = False
        """Whether it reads nothing for now, as in the off-blocks of a judgement of itself."""

    def watch_container(self, source: Source) -> None:
        """Begin to sample a container by its first process. Raises LabError when it cannot be."""
        self._add(CgroupReader(source))

    def watch_process(self, source: Source) -> None:
        """Begin to sample a process. Raises ProcessLookupError when it is not there any more."""
        self._add(ProcessReader(source))

    def attach(self, feed: Feed) -> None:
        """Ask `feed` every `poll_seconds` from now on; it is closed with the monitor."""
        with self._lock:
            self._feeds.append(feed)

    def subscribe(self, on_sample: OnSample) -> None:
        """Call `on_sample` with every sample from now on."""
        with self._lock:
            self._listeners.append(on_sample)

    def forget(self, source: Source) -> None:
        """Stop sampling; a source that is not known is fine."""
        with self._lock:
            self._tell()  # or what was read of it would bring it back
            reader = self._readers.pop(source, None)
            self._known.pop(source, None)
        if reader is not None:
            reader.close()

    @property
    def sources(self) -> frozenset[Source]:
        """What is being read right now."""
        with self._lock:
            return frozenset(self._readers)

    def latest(self) -> Mapping[Source, Sample]:
        """The newest sample of every source that is there."""
        with self._lock:
            return {source: known.latest for source, known in self._known.items()}

    def __enter__(self) -> Self:
        self._inside.acquire()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside.release()
        self._thread.join()
        for feed in self._feeds:
            feed.close()
        for source in self.sources:
            self.forget(source)
        if self._failure is not None and error is None:
            raise self._failure

    def tick(self, pace: Pace = LEVELS) -> None:
        """Read every source once; what the thread does by itself, for benchmarks and tests.

        What is read between two readings of levels is told with the later one: the less a tick
        touches, the less it costs, for other people's work has emptied the CPU's caches meanwhile.
        """
        if pace is SLOW:
            self._poll()
        with self._lock:
            readers = list(self._readers.values())
        for reader in readers:
            try:
                values = reader.read(pace)
            except ProcessLookupError:
                self.gone(reader.source)
            else:
                self._untold.append(Sample(reader.source, time.monotonic_ns(), values))
        if pace is not TICK:
            self._tell()

    def take(self, sample: Sample) -> None:
        """A sample, wherever it came from: kept as the latest, told, and held to the bounds."""
        with self._lock:
            known = self._known.get(sample.source)
            if known is None:
                known = _Known(self._watches_for(sample.source), sample)
                self._known[sample.source] = known
            merged = {**known.latest.values, **sample.values}
            known.latest = Sample(sample.source, sample.at_ns, merged)
            for listener in self._listeners:
                listener(sample)
            for metric, watch in known.watches:
                if metric in sample.values:
                    violation = watch.see(sample.at_ns, sample.values[metric])
                    if violation is not None:
                        self._on_violation(violation)

    def gone(self, source: Source) -> None:
        """The source is not there any more: told as that, and nothing is read in its place."""
        self.forget(source)
        with self._lock:
            self._on_gone(source)

    def _tell(self) -> None:
        """Take what has been read."""
        untold, self._untold = self._untold, []
        for sample in untold:
            self.take(sample)

    def _poll(self) -> None:
        """Let the feeds look for what is new."""
        with self._lock:
            feeds = list(self._feeds)
        for feed in feeds:
            feed.poll(self)

    def _add(self, reader: Reader) -> None:
        with self._lock:
            known = self._readers.setdefault(reader.source, reader)
        if known is not reader:
            reader.close()

    def _watches_for(self, source: Source) -> list[tuple[str, Watch]]:
        return [
            (bound.metric, Watch(source, bound))
            for bound in self._bounds
            if not bound.kinds or source.kind in bound.kinds
        ]

    def _pace(self, now: float) -> Pace:
        """The slowest that is due; the ones before it are read with it."""
        pace = SLOW if now >= self._slow_due else LEVELS if now >= self._levels_due else TICK
        if pace is SLOW:
            self._slow_due = now + SLOW_SECONDS - self._period / 2
        if pace is not TICK:
            self._levels_due = now + self.level_seconds - self._period / 2
        return pace

    def _run(self) -> None:
        """Tick on an absolute schedule; a tick that came too late is left out, not made up for."""
        due = time.monotonic()
        try:
            while not self._inside.acquire(timeout=max(0.0, due - time.monotonic())):
                if not self.paused:
                    now = time.monotonic()
                    pace = self._pace(now)
                    if now >= self._poll_due:
                        self._poll_due = now + self.poll_seconds - self._period / 2
                        if pace is not SLOW:
                            self._poll()
                    self.tick(pace)
                self.cpu_seconds = time.thread_time()
                due = max(due + self._period, time.monotonic())
            self._tell()
        except BaseException as failure:  # noqa: BLE001 - raised again where the block is left
            self._failure = failure
