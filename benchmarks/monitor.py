"""What a tick of the monitor costs: many processes, many containers, beside psutil in the same run.

    python -m benchmarks.monitor [--judged]

The processes are real and idle. A container is read by its cgroup: the run reads one real cgroup
as many times as there would be containers, each through descriptors of its own. Told is a tick that
reads levels (CPU time and memory of everything), and what the machine pays for all ticks of a
second, by their paces. A few seconds.

--judged asks what the monitor does to a system that it watches: a standing stack of the reference
system under load, the monitor at 20 Hz as the aggressor of a paired-block phase (on and off in half
seconds, in a coin's order), then on for 20 s between two stretches without any. It prints the
judge's verdict, with the p95 ratio and its interval, and the monitor's share of the machine in
those 20 s. Up to 2 minutes, and less where the first look decides; behind the shield.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import psutil

from benchmarks.standing import Silent, leased, played, say
from experiments._tenants import chat
from lab.campaign import prepare
from lab.companion import Scene
from lab.experiment import Experiment, Phase
from lab.history import Op
from lab.host import HostWatch
from lab.journal import Entered, Event, Journal, Sampled
from lab.monitor import Kind, ResourceMonitor, Source
from lab.monitor.beside import Watching
from lab.monitor.monitor import LEVEL_SECONDS
from lab.monitor.readers import LEVELS, SLOW, TICK
from lab.procfs import started_ticks
from lab.stack.file import load, load_driver
from lab.stats.design import PairedBlocks
from lab.verifiers import latency
from lab.workload import Cohort

PROCESSES, CONTAINERS, TICKS = 500, 100, 40
PER_SECOND = 20
SYSTEM, SEED, QUIET = Path("compose/reference"), 7, "quiet"
SUSTAINED_SECONDS = 20
DESIGN = PairedBlocks()
"""As many as in `noisy_neighbor`: 80 in a block, so that 20 pairs can tell 10 % from none."""


@contextmanager
def idle(count: int) -> Generator[list[Source]]:
    """So many processes that wait."""
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]
    try:
        yield [Source(Kind.AGENT, f"p{c.pid}", "", c.pid, started_ticks(c.pid)) for c in children]
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


def second_of(monitor: ResourceMonitor) -> Callable[[], object]:
    """All ticks of one second, as the monitor's thread would do them."""
    every = int(LEVEL_SECONDS * PER_SECOND)
    paces = [SLOW, *(TICK if n % every else LEVELS for n in range(1, PER_SECOND))]
    return lambda: [monitor.tick(pace) for pace in paces]


def with_psutil(sources: list[Source]) -> Callable[[], object]:
    """The same readings by the usual library, its objects kept from tick to tick."""
    processes = [psutil.Process(source.pid) for source in sources]
    return lambda: [(p.cpu_times(), p.memory_info().rss) for p in processes]


class Announced(Journal):
    """A journal that also hands its phases and the starts of their loads to a listener."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lines, self.lines = anyio.create_memory_object_stream[Event](100)

    def append(self, event: Event, *, durable: bool = False) -> None:
        """Write, then tell."""
        super().append(event, durable=durable)
        if isinstance(event, Entered) or (isinstance(event, Sampled) and "load" in event.probe):
            self._lines.send_nowait(event)


class Aggressor:
    """The monitor as a companion that is there in `decide`, by the design, and in `sustained`."""

    def __init__(self, watching: Watching) -> None:
        self._watching, self._decided = watching, False
        self._before = self.share = 0.0
        """CPU seconds before `sustained`; what the monitor took of the machine in it."""

    @asynccontextmanager
    async def beside(self, scene: Scene) -> AsyncGenerator[None]:
        """Come and go with the phases."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow, scene)
            yield
            tasks.cancel_scope.cancel()

    def see(self, batch: Sequence[Op]) -> None:
        """As any monitor."""
        self._watching.see(batch)

    async def _follow(self, scene: Scene) -> None:
        assert isinstance(scene.journal, Announced)
        monitor = self._watching.monitor
        async with anyio.create_task_group() as tasks, AsyncExitStack() as there:
            async for event in scene.journal.lines:
                match event:
                    case Entered(phase="decide"):
                        await there.enter_async_context(self._watching.beside(scene))
                    case Sampled(probe="load decide"):
                        tasks.start_soon(self._switch, scene.epoch_ns + event.at_ns)
                    case Entered(phase="sustained"):
                        self._decided, monitor.paused = True, False
                        self._before = monitor.cpu_seconds
                    case Entered(phase="after"):
                        used = monitor.cpu_seconds - self._before
                        self.share = used / SUSTAINED_SECONDS / (os.cpu_count() or 1)
                        await there.aclose()
                    case _:
                        pass

    async def _switch(self, start_ns: int) -> None:
        """On and off, as the design says."""
        for on_seconds, off_seconds in DESIGN.gate(SEED):
            for at_seconds, paused in ((on_seconds, False), (off_seconds, True)):
                left = start_ns / 1e9 + at_seconds - time.monotonic()
                await anyio.sleep(max(0.0, left))
                if self._decided:
                    return
                self._watching.monitor.paused = paused


def judged_story() -> Experiment:
    """Ten tenants take notes all the while; nobody attacks but the monitor."""
    quiet = Cohort(QUIET, 10)
    return Experiment(
        claim="The monitor slows nobody down.",
        cohorts=(quiet,),
        workloads=(chat(quiet),),
        phases=(
            Phase("warm-up", 3),
            Phase("baseline", 10),
            Phase("decide", DESIGN.seconds, paired=DESIGN),
            Phase("sustained", SUSTAINED_SECONDS),
            Phase("after", 10),
        ),
        verifiers=(
            latency.neighbours_keep_their_p95(
                DESIGN, phase="decide", of=QUIET, sustained=("baseline", "sustained", "after")
            ),
        ),
    )


async def judged() -> None:
    """Perform the story on a stack of its own, and say what the judge says."""
    system = load(SYSTEM)
    await prepare([system], say)
    with TemporaryDirectory() as name:
        place = Path(name)
        async with leased(system, place, cohorts=(QUIET,), shielded=True, say=say) as stack:
            factory = load_driver(system.driver)
            aggressor = Aggressor(Watching(stack, factory, per_second=PER_SECOND))
            seen = await played(
                judged_story(), stack, factory, place / "run", name="monitor", seed=SEED,
                view=Phases(), companions=(HostWatch(stack.start.run), aggressor),
                writing=Announced,
            )  # fmt: skip
    (verdict,) = (verifier(seen) for verifier in judged_story().verifiers)
    cost = next(e.values for e in seen.of(Sampled) if e.probe == "monitor")
    say(f"{verdict.status}: {verdict.reason}")
    say(
        f"the monitor at {PER_SECOND} a second: {cost['readings']:,.0f} readings of"
        f" {len(seen.resources.sources)} sources; in the {SUSTAINED_SECONDS} s that it was on"
        f" without a pause it took {aggressor.share:.2%} of the machine"
    )


class Phases(Silent):
    """A line for each phase, and all that is said."""

    def say(self, line: str) -> None:
        """Told."""
        say(line)

    def phase(self, name: str, seconds: float) -> None:
        """Told."""
        say(f"{name}, at most {seconds:g} s")


def table() -> None:
    """What ticks cost, in CPU time."""
    with idle(PROCESSES) as sources:
        monitor = ResourceMonitor(per_second=PER_SECOND)
        for source in sources:
            monitor.watch_process(source)
        ours, theirs = cost_ms(monitor.tick), cost_ms(with_psutil(sources))
        for source in sources:
            monitor.forget(source)
    beside = f"psutil {theirs:.2f} ms ({ours / theirs:.2f} of it)"
    say(f"{PROCESSES} processes: {ours:.2f} ms of CPU a tick; {beside}")
    monitor, pid = ResourceMonitor(per_second=PER_SECOND), os.getpid()
    for number in range(CONTAINERS):
        container = f"c{number}"
        monitor.watch_container(
            Source(Kind.CONTAINER, container, container, pid, started_ticks(pid))
        )
    containers, second = cost_ms(monitor.tick), cost_ms(second_of(monitor))
    for source in monitor.sources:
        monitor.forget(source)
    say(f"{CONTAINERS} containers: {containers:.2f} ms of CPU a tick")
    share = second / 1000 / (os.cpu_count() or 1)
    say(f"at {PER_SECOND} ticks a second, {CONTAINERS} containers cost {share:.2%} of the machine")


def main() -> None:
    """As the command line says."""
    if sys.argv[1:] == ["--judged"]:
        anyio.run(judged)
    else:
        table()


if __name__ == "__main__":
    main()
