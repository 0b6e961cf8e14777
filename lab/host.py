"""Who uses the host's CPU while a run lasts: the run itself, strangers, or a hypervisor.

The judge gates on these counters and never on latency, so the gate cannot favour an answer.
Strangers' CPU is the whole machine's less the run's own: its containers, the lab and its children,
and the engine's forwarders to its ports. Sources: Linux's cgroup-v1/cpuacct, cgroup-v2, proc(5).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
from anyio import create_task_group, sleep_until, to_thread
from anyio import current_time as loop_time

from lab.companion import Scene
from lab.engine.api import engine
from lab.engine.shield import CGROUPS, forwarders
from lab.history import Op
from lab.journal import Sampled
from lab.procfs import TICKS_PER_SECOND, cgroup_folders, cpu_clock

PROBE = "host"
PERIOD_SECONDS = 0.2
"""Five readings a second: pairs of blocks take a second, and the counters only grow."""

ROOT_CPU = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")
"""Exact to the nanosecond where there is cgroup v1; /proc/stat counts ticks, which is v2's way."""

SHIELDS = ("cpuacct/crosstalk-*/cpuacct.usage", "crosstalk[-_]*/cpu.stat")
"""Where the shields of all runs count their CPU time, in v1 and v2."""


Counter = Callable[[], float]
"""CPU seconds so far. Raises OSError once what it counts is gone."""


class Lasting:
    """A counter that outlives its source: a container that is started again goes on counting."""

    def __init__(self, counter: Counter) -> None:
        self._counter, self._before, self._last = counter, 0.0, 0.0

    def __call__(self) -> float:
        """All CPU seconds so far; while the source is gone, what it had used."""
        try:
            now = self._counter()
        except OSError:
            return self._before + self._last
        if now < self._last:
            self._before += self._last
        self._last = now
        return self._before + now


class HostCpu:
    """Reads the machine beside what is `own`, and beside the shields of other runs than `run`."""

    def __init__(self, own: Iterable[Counter], run: str = "") -> None:
        self._own = [Lasting(counter) for counter in own]
        self._busy = of_number(ROOT_CPU) if ROOT_CPU.exists() else busy_ticks
        self._run, self._rivals = run, dict[Path, tuple[Lasting, float]]()

    def values(self) -> dict[str, float]:
        """What only grows: `busy_seconds` of the machine, `own_seconds` of them the run's,
        `rival_seconds` those of other runs' shields, and `steal_seconds`.
        """
        return {
            "busy_seconds": self._busy(),
            "own_seconds": sum(own() for own in self._own),
            "rival_seconds": self._rival_seconds(),
            "steal_seconds": _stat()[7],
        }

    def _rival_seconds(self) -> float:
        """Since each was first seen. A shield weighs as much as ours, so it is a stranger to us."""
        ours = {f"crosstalk-{self._run}", f"crosstalk_{self._run.replace('-', '_')}.slice"}
        for path in (path for pattern in SHIELDS for path in CGROUPS.glob(pattern)):
            if path not in self._rivals and path.parent.name not in ours:
                counter = Lasting(of_group(path))
                self._rivals[path] = counter, counter()
        return sum(counter() - before for counter, before in self._rivals.values())


class HostWatch:
    """A companion that reads the host five times a second, into the journal (probe `host`)."""

    def __init__(self, run: str) -> None:
        self._run = run

    @asynccontextmanager
    async def beside(self, scene: Scene) -> AsyncGenerator[None]:
        """See Companion. Raises LabError when the engine does not answer."""
        cpu = HostCpu(await to_thread.run_sync(own_counters, self._run), self._run)

        async def sample() -> None:
            due = loop_time()
            while True:
                at_ns = time.monotonic_ns() - scene.epoch_ns
                scene.journal.append(Sampled(probe=PROBE, at_ns=at_ns, values=cpu.values()))
                due = max(due + PERIOD_SECONDS, loop_time())
                await sleep_until(due)

        async with create_task_group() as tasks:
            tasks.start_soon(sample)
            yield
            tasks.cancel_scope.cancel()

    def see(self, batch: Sequence[Op]) -> None:
        """Latency is none of its business."""


def own_counters(run: str) -> list[Counter]:
    """Everything of the run that uses CPU: containers, the lab's processes, port forwarders."""
    with engine() as client:
        there = [client.placed(box.id) for box in client.standing() if box.run == run]
    ports = {port for each in there for port in each.ports.values()}
    counters = [*of_lab(), *map(of_process, forwarders(ports))]
    for each in (each for each in there if each.running):
        with suppress(OSError):  # it has ended meanwhile
            counters.append(of_container(each.pid))
    return counters


def of_lab() -> list[Counter]:
    """This process, and its children as they are now: the generator, the healer."""
    children = psutil.Process().children(recursive=True)
    return [time.process_time, *(of_process(child.pid) for child in children)]


def of_container(pid: int) -> Counter:
    """The container that the process is in, by its cgroup. Raises OSError without the process."""
    groups = cgroup_folders(pid)
    if "cpuacct" in groups:
        return of_group(groups["cpuacct"] / "cpuacct.usage")
    return of_group(groups[""] / "cpu.stat")


def of_group(path: Path) -> Counter:
    """A cgroup's `cpuacct.usage` (v1) or `cpu.stat` (v2)."""
    return of_number(path) if path.name == "cpuacct.usage" else lambda: _usage(path)


def of_number(path: Path) -> Counter:
    """A file that holds nanoseconds."""
    return lambda: int(path.read_bytes()) * 1e-9


def of_process(pid: int) -> Counter:
    """All threads of a process, by its own clock (clock_getcpuclockid(3))."""
    clock = cpu_clock(pid)
    return lambda: time.clock_gettime_ns(clock) * 1e-9


def busy_ticks() -> float:
    """CPU seconds that the machine was not idle, in ticks: user, nice, system, irq, softirq."""
    user, nice, system, _, _, irq, softirq, *_ = _stat()
    return user + nice + system + irq + softirq


def _usage(path: Path) -> float:
    """`usage_usec 123`, the first line of cpu.stat."""
    return int(path.read_text().split(maxsplit=2)[1]) * 1e-6


def _stat() -> list[float]:
    """The machine's line of /proc/stat, in seconds."""
    with Path("/proc/stat").open() as file:
        return [int(ticks) / TICKS_PER_SECOND for ticks in file.readline().split()[1:]]
