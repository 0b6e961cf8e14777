"""The monitor samples what it was told to, says whose reading it is, and never itself instead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UsageError
from lab.monitor import Bound, ResourceMonitor, Sample, Source, Violation
from lab.monitor.readers import ProcessReader, cgroup_folders, started_ticks
from lab.monitor.sample import Watch

SOMEBODY = Source("x", "", 1, 1)
BURN = "import sys; sys.stdout.write('.'); sys.stdout.flush()\nwhile True: pass"
HOLD = "import sys; x = b'x' * int(sys.argv[1]); sys.stdout.write('.'); sys.stdout.flush(); input()"


@contextmanager
def process(code: str, *words: str) -> Generator[Source]:
    """A Python process that has said that it is ready."""
    command = [sys.executable, "-S", "-c", code, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        try:
            yield Source("tenant", "", child.pid, started_ticks(child.pid))
        finally:
            child.kill()


def ticked(monitor: ResourceMonitor, source: Source, count: int = 1) -> None:
    monitor.watch_process(source)
    for _ in range(count):
        monitor.tick(slow=True)
    monitor.forget(source)


def test_a_process_that_burns_shows_its_cpu_time_and_one_that_waits_does_not() -> None:
    seen: list[Sample] = []
    monitor = ResourceMonitor(on_sample=seen.append)
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
    monitor = ResourceMonitor(on_sample=seen.append)
    with process(HOLD, "1") as small, process(HOLD, str(50_000_000)) as large:
        ticked(monitor, small)
        ticked(monitor, large)
    difference = seen[1].values["memory_bytes"] - seen[0].values["memory_bytes"]
    assert 45_000_000 < difference < 60_000_000
    assert seen[0].values["descriptors"] >= 3


def test_a_source_that_has_gone_is_told_as_gone_and_nothing_is_read_in_its_place() -> None:
    gone: list[Source] = []
    seen: list[Sample] = []
    monitor = ResourceMonitor(on_sample=seen.append, on_gone=gone.append)
    with process(HOLD, "1") as source:
        monitor.watch_process(source)
    monitor.tick()
    assert gone == [source]
    assert not seen
    assert not monitor.sources


def test_a_pid_that_is_another_process_now_is_refused() -> None:
    mine = started_ticks(os.getpid())
    with pytest.raises(ProcessLookupError, match="another one"):
        ProcessReader(Source("x", "", os.getpid(), mine - 1))


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
            ResourceMonitor(per_second=20, on_sample=refuse) as monitor,
        ):
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


def test_a_containers_folders_are_found_with_v1_v2_and_both(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "mounts").write_text(
        "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )
    (tmp_path / "7" / "cgroup").write_text(
        "5:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/docker/abc\n"
    )
    found = cgroup_folders(7, tmp_path)
    assert found["cpuacct"] == Path("/sys/fs/cgroup/cpu/docker/abc")
    assert found["memory"] == Path("/sys/fs/cgroup/memory/docker/abc")
    assert found[""] == Path("/sys/fs/cgroup/unified/docker/abc")
