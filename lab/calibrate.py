"""What this host can tell at all: a small load on a yardstick of a server, and nobody attacking.

No engine and no container: 17 s of calm load, judged as if half of its blocks were an attack's,
then 6 s in which the server is frozen for 0.5 s in every 2, which the generator has to see.
Generator and server stand behind a shield as a run's do, where the host allows one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import numpy as np
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from lab import echo
from lab.actions import Read, Work
from lab.engine.shield import CGROUPS, Shield, lower
from lab.errors import LabError
from lab.history import Op
from lab.host import PERIOD_SECONDS, HostCpu, of_process
from lab.load.generator import Generator as LoadGenerator
from lab.load.generator import generating
from lab.load.service import service_times_ms
from lab.load.wire import GeneratorPlan, Health, PhasePlan
from lab.monitor import ResourceMonitor
from lab.procfs import started_ticks
from lab.resources import Kind, Source
from lab.stats.design import PairedBlocks
from lab.stats.host import CROWDED_CORES, STOLEN_SHARE_MAX, Host, counted
from lab.stats.paired import Ratio, sham
from lab.stats.series import quantile_of, series
from lab.system import Endpoint, Site, Tenant
from lab.workload import Workload

TENANTS, PER_SECOND, SEED = 8, 250.0, 1
CALM, FROZEN = "calm", "frozen"
ACTIONS = frozenset({Read, Work})
PAIRS, FREEZES = 16, 3
FREEZE_SECONDS, FREEZE_EVERY_SECONDS = 0.5, 2.0
SETTLE_SECONDS, DRAIN_SECONDS = 0.5, 2.0
START_SECONDS = 20.0
MONITORED, MONITOR_PER_SECOND, TICKS = 10, 20, 40

LATENESS_P99_MS_MAX, STALL_MS_MAX = 50.0, 1000.0
FROZEN_RESPONSE_MS_MIN, FROZEN_SERVICE_MS_MAX = 300.0, 5.0
"""A quarter of all requests falls into a freeze: their p95 must show it from the due time on, and
must not from the sending of one at a time, which is what closed-loop tools report."""


Reading = tuple[float, dict[str, float]]
"""Seconds since the phase's start, and what `HostCpu` said."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured. `detectable` and `seconds_to_detect_margin` are a `Ratio`'s.

    strangers_cores: the mean; crowded: the share of seconds that they spoil, which behind a shield
    only another run can; monitor_share: of the machine, for ten processes at 20 ticks a second.
    """

    shielded: bool
    ratio: Ratio
    lateness_p50_ms: float
    lateness_p99_ms: float
    stall_max_ms: float
    strangers_cores: float
    crowded: float
    stolen_share: float
    monitor_share: float
    host_share: float
    frozen_response_p95_ms: float
    frozen_service_p95_ms: float

    @property
    def unfit(self) -> str:
        """Why this host cannot be measured on, and what to do; empty when it can."""
        quieter = "end what else runs here, or take a machine with more cores"
        if self.lateness_p99_ms > LATENESS_P99_MS_MAX:
            return f"the load is {self.lateness_p99_ms:.0f} ms late: {quieter}"
        if self.stall_max_ms > STALL_MS_MAX:
            return f"everything stood still for {self.stall_max_ms:.0f} ms: {quieter}"
        if self.stolen_share > STOLEN_SHARE_MAX:
            return (
                f"the hypervisor took {self.stolen_share:.1%} of a core: take a dedicated machine"
            )
        if self.crowded > 0.5 and not self.shielded:
            return f"strangers take {self.strangers_cores:.2f} cores: run as root, or {quieter}"
        if self.crowded > 0.5:
            return "another run of the lab is under way: wait for its end"
        if self.frozen_response_p95_ms < FROZEN_RESPONSE_MS_MIN:
            return "the generator does not see a server that stands still: report this as a bug"
        if self.frozen_service_p95_ms > FROZEN_SERVICE_MS_MAX:
            return f"a bare echo takes {self.frozen_service_p95_ms:.1f} ms: {quieter}"
        return ""


async def calibrate(pairs: int = PAIRS, freezes: int = FREEZES) -> Calibration:
    """Measure for about half a minute, with so many pairs of blocks and freezes of the server.

    Raises LabError when server or generator do not start.
    """
    design = PairedBlocks(looks=(pairs,))
    costs = monitor_share(), host_share()
    ops: list[Op] = []
    epoch_ns = time.monotonic_ns()
    with _shield() as shield:
        async with _server() as (server, site):
            tenants = tuple(Tenant(f"quiet-{n}", f"t-{n}", "quiet") for n in range(TENANTS))
            plan = GeneratorPlan(Path(echo.__file__), site, tenants, SEED, epoch_ns)
            async with generating(plan, on_ops=ops.extend) as generator:
                pids = (*generator.pids, server.pid)
                if shield:
                    shield.take(pids)
                connected = await generator.connect()
                if connected.failed:
                    raise LabError(f"the yardstick does not answer: {connected.failed[0]}")
                cpu = HostCpu([time.process_time, *map(of_process, pids)], _run())
                readings = await _calm(generator, cpu, design.seconds)
                await _frozen(generator, server, freezes)
                health = await generator.finish(drain_seconds=DRAIN_SECONDS)
    return _told(design, ops, health, readings, costs, shielded=bool(shield))


async def _calm(generator: LoadGenerator, cpu: HostCpu, seconds: float) -> list[Reading]:
    """The first phase; returns what the host's counters said, and when."""
    start_ns = await _play(generator, CALM, seconds)
    readings: list[Reading] = []
    while (at := (time.monotonic_ns() - start_ns) / 1e9) < seconds:
        readings.append((at, cpu.values()))
        await anyio.sleep(PERIOD_SECONDS)
    return readings


async def _frozen(generator: LoadGenerator, server: Process, freezes: int) -> None:
    """The second phase: the server is frozen again and again."""
    await anyio.sleep(SETTLE_SECONDS)
    await _play(generator, FROZEN, freezes * FREEZE_EVERY_SECONDS)
    for _ in range(freezes):
        await anyio.sleep(FREEZE_EVERY_SECONDS - FREEZE_SECONDS)
        server.send_signal(signal.SIGSTOP)
        await anyio.sleep(FREEZE_SECONDS)
        server.send_signal(signal.SIGCONT)
    await anyio.sleep(SETTLE_SECONDS)


async def _play(generator: LoadGenerator, phase: str, seconds: float) -> int:
    """Start a phase; returns when, on the monotonic clock."""
    start_ns = time.monotonic_ns() + 200_000_000
    behaviour = echo.waits if phase == CALM else echo.reads
    workload = Workload("quiet", behaviour, PER_SECOND / TENANTS, ACTIONS, in_flight_max=1000)
    await generator.play(PhasePlan(phase, start_ns, seconds, (workload,)))
    return start_ns


def _told(
    design: PairedBlocks,
    ops: list[Op],
    health: Health,
    readings: list[Reading],
    costs: tuple[float, float],
    *,
    shielded: bool,
) -> Calibration:
    calm = [op for op in ops if op.phase == CALM]
    frozen = [op for op in ops if op.phase == FROZEN]
    first_ns = min(op.due_ns for op in calm)
    due, latency = series(calm, since_ns=first_ns)
    rows = [(at, counted(v, shielded=shielded), v["steal_seconds"]) for at, v in readings]
    table = np.array(rows, dtype=np.float64)
    host = Host((), table[:, 0], table[:, 1], table[:, 2])
    cores = host.strangers_cores(np.arange(0.0, design.seconds - 1), 1.0)
    (began, first), (ended, last) = readings[0], readings[-1]
    strangers = counted(last, shielded=False) - counted(first, shielded=False)
    return Calibration(
        shielded=shielded,
        ratio=sham(design, SEED, due, latency, seconds=design.seconds),
        lateness_p50_ms=health.phases[CALM].lateness_p50_ms,
        lateness_p99_ms=health.phases[CALM].lateness_p99_ms,
        stall_max_ms=health.phases[CALM].stall_max_ms,
        strangers_cores=strangers / (ended - began),
        crowded=float(np.mean(cores > CROWDED_CORES)),
        stolen_share=host.stolen_seconds(design.seconds) / design.seconds,
        monitor_share=costs[0],
        host_share=costs[1],
        frozen_response_p95_ms=quantile_of(series(frozen, since_ns=0)[1], 0.95),
        frozen_service_p95_ms=quantile_of(np.array(list(service_times_ms(frozen))), 0.95),
    )


def monitor_share() -> float:
    """Of the machine, what the monitor would take for ten processes at 20 ticks a second."""
    monitor, pid = ResourceMonitor(per_second=MONITOR_PER_SECOND), os.getpid()
    for number in range(MONITORED):
        monitor.watch_process(Source(Kind.AGENT, f"p{number}", "", pid, started_ticks(pid)))
    share = _share(monitor.tick, MONITOR_PER_SECOND)
    for source in monitor.sources:
        monitor.forget(source)
    return share


def host_share() -> float:
    """Of the machine, what reading its counters takes beside every run, with ten containers."""
    return _share(HostCpu([time.process_time] * MONITORED).values, 1 / PERIOD_SECONDS)


def _share(work: Callable[[], object], per_second: float) -> float:
    began = time.thread_time()
    for _ in range(TICKS):
        work()
    return (time.thread_time() - began) / TICKS * per_second / (os.cpu_count() or 1)


@asynccontextmanager
async def _server() -> AsyncGenerator[tuple[Process, Site]]:
    """The yardstick and where it is, gone afterwards."""
    command = [sys.executable, "-m", "lab.echo"]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            port = await _port(process)
            yield process, Site({("client", ""): Endpoint("127.0.0.1", port)}, {}, {})
        finally:
            with suppress(ProcessLookupError):
                process.kill()


async def _port(server: Process) -> int:
    """What it prints first. Raises LabError when it does not."""
    assert server.stdout is not None
    try:
        with anyio.fail_after(START_SECONDS):
            return int(await TextReceiveStream(server.stdout).receive())
    except (anyio.EndOfStream, TimeoutError, ValueError) as error:
        raise LabError(f"the yardstick does not start: {error}", where="lab.echo") from error


def _run() -> str:
    """What the shield is called by."""
    return f"calibrate-{os.getpid()}"


@contextmanager
def _shield() -> Generator[Shield | None]:
    """A shield, gone once everybody behind it has ended; None where there can be none."""
    shield = Shield(_run(), 1 if (CGROUPS / "cpu").is_dir() else 2, "cgroupfs")
    if shield.missing():
        yield None
        return
    shield.up()
    try:
        yield shield
    finally:
        until = time.monotonic() + START_SECONDS
        while lower(shield.run) and time.monotonic() < until:
            time.sleep(0.02)


def rows(found: Calibration) -> list[tuple[str, str]]:
    """The calibration as a table for people."""
    ratio = found.ratio
    return [
        ("shield", "yes" if found.shielded else "no: strangers count"),
        (f"detectable after {ratio.pairs} pairs", f"{ratio.detectable - 1:+.1%} (power 90 %)"),
        ("time to see 10%", f"{ratio.seconds_to_detect_margin:.0f} s"),
        ("ratio with nobody attacking", f"{ratio.estimate:.3f}"),
        ("timer lateness p50, p99", f"{found.lateness_p50_ms:.2f}, {found.lateness_p99_ms:.2f} ms"),
        ("longest stall", f"{found.stall_max_ms:.0f} ms"),
        (
            "strangers' CPU",
            f"{found.strangers_cores:.2f} cores, {found.crowded:.0%} of seconds lost",
        ),
        ("stolen by a hypervisor", f"{found.stolen_share:.2%} of a core"),
        (f"monitor, {MONITORED} processes, {MONITOR_PER_SECOND}/s", f"{found.monitor_share:.2%}"),
        ("host's counters, 5/s", f"{found.host_share:.2%}"),
        ("server frozen: response p95", f"{found.frozen_response_p95_ms:.0f} ms"),
        ("server frozen: service p95", f"{found.frozen_service_p95_ms:.2f} ms"),
    ]
