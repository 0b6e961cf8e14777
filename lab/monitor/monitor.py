"""ResourceMonitor: samples containers and processes at a steady rate, and calls back on violation.

It runs in a thread of its own and costs two or three system calls a source and tick. It never
measures itself in a source's place: a source that has gone is told as gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from lab.errors import UsageError
from lab.monitor.readers import CgroupReader, ProcessReader, Reader
from lab.monitor.sample import Bound, Sample, Source, Violation, Watch

OnSample = Callable[[Sample], None]
OnViolation = Callable[[Violation], None]
OnGone = Callable[[Source], None]
PER_SECOND_MAX = 20.0
SLOW_SECONDS = 1.0


def _ignore(_: object) -> None:
    """Nobody listens."""


class ResourceMonitor(AbstractContextManager["ResourceMonitor"]):
    """`with ResourceMonitor(...) as monitor:` samples until the block is left.

    per_second: ticks, up to 20; bounds: what is watched on every source. Callbacks run in the
    monitor's thread, one after another, and must be quick; one that raises ends the monitor, and
    leaving the block raises what it raised. Methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        per_second: float = 1.0,
        bounds: Iterable[Bound] = (),
        on_sample: OnSample = _ignore,
        on_violation: OnViolation = _ignore,
        on_gone: OnGone = _ignore,
    ) -> None:
        if not 0 < per_second <= PER_SECOND_MAX:
            raise UsageError(f"per_second={per_second:g} cannot be", mend=f"up to {PER_SECOND_MAX}")
        self._period = 1.0 / per_second
        self._bounds = tuple(bounds)
        self._on_sample, self._on_violation, self._on_gone = on_sample, on_violation, on_gone
        self._readers: dict[Source, Reader] = {}
        self._watches: dict[Source, list[tuple[str, Watch]]] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._failure: BaseException | None = None
        self.cpu_seconds = 0.0
        """What the monitor's thread has cost so far."""

    def watch_container(self, source: Source) -> None:
        """Begin to sample a container by its first process. Raises LabError when it cannot be."""
        self._add(CgroupReader(source))

    def watch_process(self, source: Source) -> None:
        """Begin to sample a process. Raises ProcessLookupError when it is not there any more."""
        self._add(ProcessReader(source))

    def forget(self, source: Source) -> None:
        """Stop sampling; a source that is not known is fine."""
        with self._lock:
            reader = self._readers.pop(source, None)
            self._watches.pop(source, None)
        if reader is not None:
            reader.close()

    @property
    def sources(self) -> frozenset[Source]:
        """What is being sampled right now."""
        with self._lock:
            return frozenset(self._readers)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        for source in self.sources:
            self.forget(source)
        if self._failure is not None and error is None:
            raise self._failure

    def tick(self, *, slow: bool = False) -> None:
        """Read every source once; what the thread does by itself, for benchmarks and tests."""
        with self._lock:
            readers = list(self._readers.values())
        for reader in readers:
            try:
                values = {**reader.slow(), **reader.fast()} if slow else reader.fast()
            except ProcessLookupError:
                self.forget(reader.source)
                self._on_gone(reader.source)
                continue
            self._seen(Sample(reader.source, time.monotonic_ns(), values))

    def _add(self, reader: Reader) -> None:
        with self._lock:
            known = self._readers.setdefault(reader.source, reader)
            self._watches.setdefault(
                reader.source, [(b.metric, Watch(reader.source, b)) for b in self._bounds]
            )
        if known is not reader:
            reader.close()

    def _seen(self, sample: Sample) -> None:
        self._on_sample(sample)
        for metric, watch in self._watches.get(sample.source, ()):
            if metric not in sample.values:
                continue
            violation = watch.see(sample.at_ns, sample.values[metric])
            if violation is not None:
                self._on_violation(violation)

    def _run(self) -> None:
        """Tick on an absolute schedule; a tick that came too late is left out, not made up for."""
        due = time.monotonic()
        slow_due = due
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                now = time.monotonic()
                slow = now >= slow_due
                slow_due = now + SLOW_SECONDS if slow else slow_due
                self.tick(slow=slow)
                self.cpu_seconds = time.thread_time()
                due = max(due + self._period, time.monotonic())
        except BaseException as failure:  # noqa: BLE001 - raised again where the block is left
            self._failure = failure
