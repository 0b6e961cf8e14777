"""The monitor samples what it was told to, says whose reading it is, and never itself instead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UsageError
from lab.monitor import (
    GROWTH,
    RUNAWAY_CPU,
    Bound,
    Kind,
    ResourceMonitor,
    Sample,
    Source,
    Violation,
)
from lab.monitor.readers import LEVELS, SLOW, TICK, ProcessReader
from lab.monitor.sample import Watch
from lab.procfs import started_ticks

SOMEBODY = Source(Kind.AGENT, "x", "", 1, 1)
BURN = "import sys; sys.stdout.write('.'); sys.stdout.flush()\nwhile True: pass"
GROW = (
    "import sys, time; x = []; sys.stdout.write('.'); sys.stdout.flush()\n"
    "while True: x.append(b'x' * 100_000); time.sleep(0.05)"
)
HOLD = "import sys; x = b'x' * int(sys.argv[1]); sys.stdout.write('.'); sys.stdout.flush(); input()"


@contextmanager
def process(code: str, *words: str) -> Generator[Source]:
    """A Python process that has said that it is ready."""
    command = [sys.executable, "-S", "-c", code, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        try:
            yield Source(Kind.AGENT, "tenant", "", child.pid, started_ticks(child.pid))
        finally:
            child.kill()


def listening(seen: list[Sample]) -> ResourceMonitor:
    monitor = ResourceMonitor()
    monitor.subscribe(seen.append)
    return monitor


def ticked(monitor: ResourceMonitor, source: Source, count: int = 1) -> None:
    monitor.watch_process(source)
    for _ in range(count):
        monitor.tick(SLOW)
    monitor.forget(source)


def test_a_process_that_burns_shows_its_cpu_time_and_one_that_waits_does_not() -> None:
    seen: list[Sample] = []
    monitor = listening(seen)
    with process(BURN) as busy, process(HOLD, "1") as idle:
        monitor.watch_process(busy)
        monitor.watch_process(idle)
        monitor.tick()
        until = time.thread_time() + 0.2
        while time.thread_time() < until:  # this thread's own burning must not be anybody's
            pass
        monitor.tick()
        monitor.forget(busy)
        monitor.forget(idle)
    grown = {
        source: [s.values["cpu_seconds"] for s in seen if s.source == source]
        for source in (busy, idle)
    }
    assert grown[busy][1] - grown[busy][0] > 0.02
    assert grown[idle][1] - grown[idle][0] < 0.02


def test_memory_that_is_held_is_seen_as_the_holders() -> None:
    seen: list[Sample] = []
    monitor = listening(seen)
    with process(HOLD, "1") as small, process(HOLD, str(50_000_000)) as large:
        ticked(monitor, small)
        ticked(monitor, large)
    difference = seen[1].values["memory_bytes"] - seen[0].values["memory_bytes"]
    assert 45_000_000 < difference < 60_000_000
    assert seen[0].values["descriptors"] >= 3


def test_a_source_that_has_gone_is_told_as_gone_and_nothing_is_read_in_its_place() -> None:
    gone: list[Source] = []
    seen: list[Sample] = []
    monitor = ResourceMonitor(on_gone=gone.append)
    monitor.subscribe(seen.append)
    with process(HOLD, "1") as source:
        monitor.watch_process(source)
    monitor.tick()
    assert gone == [source]
    assert not seen
    assert not monitor.sources


def test_what_is_read_between_levels_is_told_with_them_and_in_order() -> None:
    seen: list[Sample] = []
    monitor = listening(seen)
    with process(HOLD, "1") as source:
        monitor.watch_process(source)
        for pace in (TICK, TICK):
            monitor.tick(pace)
            assert not seen
        monitor.tick(LEVELS)
        monitor.forget(source)
    assert [sorted(s.values) for s in seen] == [["cpu_seconds"]] * 2 + [
        ["cpu_seconds", "memory_bytes"]
    ]
    assert [s.at_ns for s in seen] == sorted(s.at_ns for s in seen)


def test_what_was_read_of_a_source_is_told_before_it_is_gone_and_does_not_bring_it_back() -> None:
    told: list[str] = []
    monitor = ResourceMonitor(on_gone=lambda source: told.append("gone"))
    monitor.subscribe(lambda sample: told.append("read"))
    with process(HOLD, "1") as source:
        monitor.watch_process(source)
        monitor.tick(TICK)
    monitor.tick()
    assert told == ["read", "gone"]
    assert not monitor.latest()


def test_every_pace_comes_by_itself() -> None:
    paces, every = set[int](), threading.Event()

    def take(sample: Sample) -> None:
        paces.add(len(sample.values))
        if len(paces) == 3:
            every.set()

    with process(HOLD, "1") as source, ResourceMonitor(per_second=20) as monitor:
        monitor.subscribe(take)
        monitor.watch_process(source)
        assert every.wait(20)
    assert paces == {1, 2, 5}


def test_feeds_are_asked_as_often_as_is_wanted() -> None:
    asked, slow, often = list[int](), list[Sample](), threading.Event()

    class Asked:
        def poll(self, monitor: ResourceMonitor) -> None:
            asked.append(1)
            if len(asked) == 10:
                often.set()

        def close(self) -> None:
            pass

    with process(HOLD, "1") as source, ResourceMonitor(per_second=20) as monitor:
        monitor.poll_seconds = 0.05
        monitor.subscribe(lambda sample: slow.append(sample) if len(sample.values) == 5 else None)
        monitor.watch_process(source)
        monitor.attach(Asked())
        assert often.wait(20)
    assert len(slow) < len(asked)


def test_a_pid_that_is_another_process_now_is_refused() -> None:
    mine = started_ticks(os.getpid())
    with pytest.raises(ProcessLookupError, match="another one"):
        ProcessReader(Source(Kind.AGENT, "x", "", os.getpid(), mine - 1))


def test_descriptors_are_given_back() -> None:
    with process(HOLD, "1") as source:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            ticked(ResourceMonitor(), source)
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_thread_ticks_by_itself_calls_back_on_violation_and_ends_with_the_block() -> None:
    told, first = list[Violation](), threading.Event()

    def tell(violation: Violation) -> None:
        told.append(violation)
        first.set()

    bound = Bound("cpu_seconds", above=0.2, for_seconds=0.1, rate=True)
    monitor = ResourceMonitor(per_second=20, bounds=[bound], on_violation=tell)
    with process(BURN) as busy, process(HOLD, "1") as idle, monitor:
        monitor.watch_process(busy)
        monitor.watch_process(idle)
        assert first.wait(20)
    assert {violation.source for violation in told} == {busy}
    assert told[0].value > 0.2
    assert not any(thread.name == "monitor" for thread in threading.enumerate())


def test_a_callback_that_raises_is_not_swallowed() -> None:
    def refuse(sample: Sample) -> None:
        refused.set()
        raise RuntimeError("not this")

    def sample_once() -> None:
        with (
            process(HOLD, "1") as source,
            ResourceMonitor(per_second=20) as monitor,
        ):
            monitor.subscribe(refuse)
            monitor.watch_process(source)
            assert refused.wait(20)

    refused = threading.Event()
    with pytest.raises(RuntimeError, match="not this"):
        sample_once()


@pytest.mark.parametrize("rate", [0.0, -1.0, 21.0])
def test_a_rate_that_costs_too_much_or_makes_no_sense_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="per_second"):
        ResourceMonitor(per_second=rate)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_a_bound_is_told_once_for_every_time_that_it_is_passed(readings: list[float]) -> None:
    watch = Watch(SOMEBODY, Bound("m", above=50.0))
    told = [watch.see(at, value) is not None for at, value in enumerate(readings)]
    crossings = [
        value > 50 and (at == 0 or readings[at - 1] <= 50) for at, value in enumerate(readings)
    ]
    assert told == crossings


def test_a_short_excess_is_no_violation() -> None:
    watch = Watch(SOMEBODY, Bound("m", above=1.0, for_seconds=2.0))
    second = 1_000_000_000
    levels = [2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 2.0]
    told = [watch.see(at * second, level) for at, level in enumerate(levels)]
    assert [at for at, violation in enumerate(told) if violation] == [5]
    violation = told[5]
    assert violation is not None
    assert violation.since_ns == 3 * second


def test_a_rate_needs_two_readings() -> None:
    watch = Watch(SOMEBODY, Bound("m", above=10.0, rate=True))
    assert watch.see(0, 1000.0) is None
    violation = watch.see(500_000_000, 1020.0)
    assert violation is not None
    assert violation.value == pytest.approx(40.0)


def test_growth_is_measured_over_as_long_as_the_bound_says() -> None:
    watch = Watch(SOMEBODY, Bound("m", above=10.0, rate=True, over_seconds=5.0))
    second = 1_000_000_000
    steps = [0.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0]  # one jump: 8 a second over five, then none
    assert all(watch.see(at * second, level) is None for at, level in enumerate(steps))
    violation = watch.see(7 * second, 140.0)
    assert violation is not None
    assert violation.value == pytest.approx(20.0)


def test_a_bound_is_for_sources_of_its_kinds() -> None:
    told: list[Violation] = []
    bound = Bound("m", above=1.0, kinds=frozenset({Kind.AGENT}))
    monitor = ResourceMonitor(bounds=[bound], on_violation=told.append)
    service = Source(Kind.CONTAINER, "app", "c", 2, 2)
    for source in (service, SOMEBODY):
        monitor.take(Sample(source, 0, {"m": 2.0}))
    assert [violation.source for violation in told] == [SOMEBODY]


def test_the_latest_sample_has_every_figure_that_was_read_last() -> None:
    monitor = ResourceMonitor()
    monitor.take(Sample(SOMEBODY, 1, {"slow": 1.0, "fast": 1.0}))
    monitor.take(Sample(SOMEBODY, 2, {"fast": 2.0}))
    assert monitor.latest()[SOMEBODY] == Sample(SOMEBODY, 2, {"slow": 1.0, "fast": 2.0})
    monitor.gone(SOMEBODY)
    assert not monitor.latest()


@pytest.mark.parametrize(
    ("bound", "code"),
    [(RUNAWAY_CPU, BURN), (GROWTH, GROW)],
    ids=["80 % of a core for long", "50 MB a minute"],
)
def test_the_requirements_bounds_are_told_within_their_time(bound: Bound, code: str) -> None:
    """In a twentieth of the time, which changes nothing but how long the test takes."""
    told, first = list[Violation](), threading.Event()

    def tell(violation: Violation) -> None:
        told.append(violation)
        first.set()

    short = {"for_seconds": bound.for_seconds / 20, "over_seconds": bound.over_seconds / 20}
    quick = replace(bound, above=bound.above / 2, **short)
    monitor = ResourceMonitor(per_second=20, bounds=[quick], on_violation=tell)
    with process(code) as guilty, process(HOLD, "1") as innocent, monitor:
        monitor.watch_process(guilty)
        monitor.watch_process(innocent)
        assert first.wait(20)
    assert {violation.source for violation in told} == {guilty}
    assert str(guilty.pid) in str(told[0])
