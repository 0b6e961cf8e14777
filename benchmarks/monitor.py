"""What a tick of the monitor costs: many processes, many containers, beside psutil in the same run.

python -m benchmarks.monitor

The processes are real and idle. A container is read by its cgroup: the run reads one real cgroup
as many times as there would be containers, each through descriptors of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import psutil

from lab.monitor import ResourceMonitor, Source
from lab.monitor.readers import started_ticks

PROCESSES, CONTAINERS, TICKS = 500, 100, 40
PER_SECOND = 20


@contextmanager
def idle(count: int) -> Generator[list[Source]]:
    """So many processes that wait."""
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]
    try:
        yield [Source(f"p{c.pid}", "", c.pid, started_ticks(c.pid)) for c in children]
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()


def cost_ms(tick: Callable[[], object]) -> float:
    """The median CPU time of a tick, in milliseconds of this thread."""
    costs: list[float] = []
    for _ in range(TICKS):
        began = time.thread_time_ns()
        tick()
        costs.append((time.thread_time_ns() - began) / 1e6)
    return sorted(costs)[len(costs) // 2]


def with_psutil(sources: list[Source]) -> Callable[[], object]:
    """The same readings by the usual library, its objects kept from tick to tick."""
    processes = [psutil.Process(source.pid) for source in sources]
    return lambda: [(p.cpu_times(), p.memory_info().rss) for p in processes]


def main() -> None:
    """Print the table."""
    say = sys.stdout.write
    with idle(PROCESSES) as sources:
        monitor = ResourceMonitor(per_second=PER_SECOND)
        for source in sources:
            monitor.watch_process(source)
        ours, theirs = cost_ms(monitor.tick), cost_ms(with_psutil(sources))
        for source in sources:
            monitor.forget(source)
    say(f"{PROCESSES} processes: {ours:.2f} ms of CPU a tick; psutil {theirs:.2f} ms")
    say(f" ({ours / theirs:.2f} of it)\n")
    monitor, pid = ResourceMonitor(per_second=PER_SECOND), os.getpid()
    for number in range(CONTAINERS):
        monitor.watch_container(Source(f"c{number}", str(number), pid, started_ticks(pid)))
    containers = cost_ms(monitor.tick)
    for source in monitor.sources:
        monitor.forget(source)
    say(f"{CONTAINERS} containers: {containers:.2f} ms of CPU a tick\n")
    share = containers * PER_SECOND / 1000 / (os.cpu_count() or 1)
    say(
        f"at {PER_SECOND} ticks a second, {CONTAINERS} containers cost {share:.2%} of the machine\n"
    )


if __name__ == "__main__":
    main()
