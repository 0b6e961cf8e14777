"""What the load engine costs beside its peers, and how punctual it is: `python -m benchmarks.load`.

All against one echo server on 127.0.0.1, in one run, contenders taking turns, medians of the turns:
- CPU per WebSocket round trip and per HTTP request at 1,000 a second over 200 tenants. The CPU is
  what the kernel counted for the contender's processes between two moments (psutil), the round
  trips what the server answered between the same moments, so no contender's own word counts. Ours
  is the whole operation: schedule, correlation, deadline, classification, record, message to the
  lab. `bare` is the least a Python client can do: `websockets` send and recv in a loop, at the same
  pace.
- Lateness of our starts at 1,000 and 5,000 a second, beside `asyncio.sleep`; achieved / offered.
- Memory of 10,000 connected tenants, and what they take once each has talked.
Peers (locust, k6, hey, wrk) take part when `python -m benchmarks.load_peers` got them. Of these wrk
and hey know HTTP only, and wrk no pace: it asks as fast as it can on 50 connections.

`--turns 5 --seconds 8` (the default) takes about 12 minutes with all peers, 7 without. `make bench`
does one short turn without peers and 1,000 tenants, in about 80 s. Ratios are what compares between
machines, and only on a quiet one: who never sleeps pays for no cold cache.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import anyio
import psutil
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import echo, load_peers
from benchmarks.load_peers import Asked
from lab.actions import Read
from lab.history import Op, Outcome
from lab.load.generator import Generator as LoadGenerator
from lab.load.generator import generating
from lab.load.wire import GeneratorPlan, Health, PhasePlan
from lab.system import Tenant
from lab.transport.choice import VARIABLE, Transport
from lab.workload import Workload

USERS, PER_SECOND, FAST_PER_SECOND = 200, 1_000.0, 5_000.0
MANY, FEWER = 10_000, 1_000
TALK_PER_SECOND, TALK_SECONDS = 0.4, 8.0
WARM_SECONDS = 1.5
START_SECONDS = 30.0

Cost = tuple[float, float]
"""Microseconds of CPU per answer, answers a second."""


def bare(asked: Asked) -> None:
    """`websockets` send and recv, each connection one at a time, without end."""

    async def run() -> None:
        rng, text = Random(1), f"bare/tenant-100/0/1000 {echo.PADDING}"

        async def loop(connection: ClientConnection) -> None:
            while True:
                await asyncio.sleep(rng.expovariate(asked.per_second / asked.users))
                await connection.send(text)
                await connection.recv()

        opened = [
            await connect(asked.url, compression=None, proxy=None, ping_interval=None)
            for _ in range(asked.users)
        ]
        await asyncio.gather(*map(loop, opened))

    asyncio.run(run())


def sleeping(told: Connection, per_second: float) -> None:
    """Lateness in ms (p50, p99) of 3 s of arrivals, paced by plain `asyncio.sleep`."""

    async def run() -> tuple[float, float]:
        rng, due_ns = Random(1), time.monotonic_ns()
        late: list[int] = []
        for _ in range(int(per_second * 3)):
            due_ns += int(rng.expovariate(per_second / 1e9))
            if (left_ns := due_ns - time.monotonic_ns()) > 0:
                await asyncio.sleep(left_ns / 1e9)
            late.append(time.monotonic_ns() - due_ns)
        late.sort()
        return late[len(late) // 2] / 1e6, late[len(late) * 99 // 100] / 1e6

    told.send(asyncio.run(run()))


@contextmanager
def _bare(asked: Asked, folder: Path) -> Generator[int | None]:
    process = multiprocessing.get_context("spawn").Process(target=bare, args=(asked,), daemon=True)
    process.start()
    try:
        yield process.pid
    finally:
        process.kill()
        process.join()


def _peer(name: str) -> Callable[[Asked, Path], AbstractContextManager[int | None]]:
    @contextmanager
    def at_work(asked: Asked, folder: Path) -> Generator[int | None]:
        process = load_peers.started(name, asked, folder)
        try:
            yield process and process.pid
        finally:
            if process is not None:
                process.kill()
                process.wait()

    return at_work


def measured(server: echo.Server, pid: int | None, asked: Asked, seconds: float) -> Cost | None:
    """The cost of a process that is at work or about to be; None when there is no process.

    One that has not come near its pace after 30 s is measured at what it has come to, which the
    table shows. Raises RuntimeError when there is no load at all.
    """
    if pid is None:
        return None
    process = psutil.Process(pid)
    deadline = time.monotonic() + START_SECONDS
    while (rate := _rate(server, 0.5)) < asked.per_second * 0.8 and time.monotonic() < deadline:
        pass
    if not rate:
        raise RuntimeError(f"no load from {process}")
    time.sleep(WARM_SECONDS)
    return _cost(server, [process], seconds)


def _rate(server: echo.Server, seconds: float) -> float:
    before = server.answered()
    time.sleep(seconds)
    return (server.answered() - before) / seconds


def _cost(server: echo.Server, processes: Sequence[psutil.Process], seconds: float) -> Cost:
    whole = [each for one in processes for each in (one, *one.children(recursive=True))]
    began, cpu, answered = time.monotonic(), _cpu_seconds(whole), server.answered()
    time.sleep(seconds)
    used, done = _cpu_seconds(whole) - cpu, server.answered() - answered
    return used / done * 1e6, done / (time.monotonic() - began)


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


@asynccontextmanager
async def _engine(
    server: echo.Server, transport: Transport, tenants: int, cohort: str
) -> AsyncGenerator[tuple[LoadGenerator, list[Op]]]:
    """Our generator, one worker, every tenant connected."""
    os.environ[VARIABLE] = transport
    everybody = tuple(Tenant(f"tenant-{n}", f"t-{n}", cohort) for n in range(tenants))
    driver = Path(echo.__file__)
    plan = GeneratorPlan(driver, server.site, everybody, 1, time.monotonic_ns())
    ops: list[Op] = []
    async with generating(plan, on_ops=ops.extend, workers=1) as generator:
        connected = await generator.connect()
        assert not connected.failed, connected.failed
        yield generator, ops


async def _play(generator: LoadGenerator, per_second: float, tenants: int, cohort: str) -> None:
    workload = Workload(cohort, echo.reads, per_second / tenants, frozenset({Read}))
    start_ns = time.monotonic_ns() + 500_000_000
    await generator.play(PhasePlan("load", start_ns, 3_600.0, (workload,)))


def ours(
    server: echo.Server, transport: Transport, per_second: float, cohort: str, seconds: float
) -> tuple[Cost, Health]:
    """The engine at work: its cost as everybody's is measured, and its own word on lateness."""

    async def run() -> tuple[Cost, Health]:
        async with _engine(server, transport, USERS, cohort) as (generator, ops):
            await _play(generator, per_second, USERS, cohort)
            await anyio.sleep(0.5 + WARM_SECONDS)
            pids = [psutil.Process(pid) for pid in generator.pids]
            cost = await anyio.to_thread.run_sync(_cost, server, pids, seconds)
            await generator.cut("load")
            health = await generator.finish(drain_seconds=2)
            failed = [op.error for op in ops if op.outcome is not Outcome.OK]
            assert not failed, failed[:3]
        return cost, health.phases["load"]

    return anyio.run(run)


def memory(server: echo.Server, transport: Transport, many: int) -> tuple[float, float]:
    """KiB of a tenant: connected, and after it has talked; of many, less what one alone takes."""

    async def held(tenants: int) -> tuple[int, int]:
        async with _engine(server, transport, tenants, "all") as (generator, _):
            process = psutil.Process(generator.pid)
            connected = process.memory_full_info().uss
            await _play(generator, TALK_PER_SECOND * tenants, tenants, "all")
            await anyio.sleep(TALK_SECONDS)
            await generator.cut("load")
            return connected, process.memory_full_info().uss

    alone, together = anyio.run(held, 1), anyio.run(held, many)
    idle, talked = ((b - a) / (many - 1) / 1024 for a, b in zip(alone, together, strict=True))
    return idle, talked


def main(turns: int = 1, seconds: float = 4.0, *, peers: bool = False) -> None:
    """Measure and print the tables."""
    with echo.serving() as server, TemporaryDirectory() as folder:
        print(f"{USERS} tenants, {turns} turns of {seconds:g} s, {os.cpu_count()} cores")
        _websocket_table(server, Path(folder), turns, seconds, peers=peers)
        _http_table(server, Path(folder), turns, seconds, peers=peers)
        many = MANY if peers else FEWER
        print(f"\nmemory of {many:,} tenants, KiB each: connected (aim: 16), after talking")
        for transport in Transport:
            idle, talked = memory(server, transport, many)
            print(f"{transport:28}{idle:10.1f}{talked:10.1f}")


def _websocket_table(
    server: echo.Server, folder: Path, turns: int, seconds: float, *, peers: bool
) -> None:
    """Costs per round trip, then lateness."""
    asked = Asked(server.websocket_url, USERS, PER_SECOND)
    others = {"bare websockets": _bare}
    others |= {name: _peer(name) for name in ("locust", "k6") if peers}
    costs: dict[str, list[Cost | None]] = defaultdict(list)
    late: dict[tuple[str, float], list[Health]] = defaultdict(list)
    for _ in range(turns):
        for name, contender in others.items():
            with contender(asked, folder) as pid:
                costs[name].append(measured(server, pid, asked, seconds))
        for transport in Transport:
            for per_second in (PER_SECOND, FAST_PER_SECOND):
                cost, health = ours(server, transport, per_second, "all", seconds)
                at = "" if per_second == PER_SECOND else f" at {per_second:,.0f}/s"
                costs[f"ours, {transport}{at}"].append(cost)
                late[transport, per_second].append(health)
    _costs(f"CPU per WebSocket round trip at {PER_SECOND:,.0f}/s, us", costs, PER_SECOND)
    print(f"\n{'lateness, ms':28}{'p50':>10}{'p99':>10}")
    for (transport, per_second), healths in late.items():
        p50 = median(health.lateness_p50_ms for health in healths)
        p99 = median(health.lateness_p99_ms for health in healths)
        print(f"{f'ours, {transport}, {per_second:,.0f}/s':28}{p50:10.3f}{p99:10.3f}")
    for per_second in (PER_SECOND, FAST_PER_SECOND):
        p50, p99 = _asleep(per_second)
        print(f"{f'asyncio.sleep, {per_second:,.0f}/s':28}{p50:10.3f}{p99:10.3f}")


def _http_table(
    server: echo.Server, folder: Path, turns: int, seconds: float, *, peers: bool
) -> None:
    """Costs per request."""
    asked = Asked(server.http_url, USERS, PER_SECOND)
    costs: dict[str, list[Cost | None]] = defaultdict(list)
    for _ in range(turns):
        cost, _ = ours(server, Transport.WEBSOCKETS, PER_SECOND, "http", seconds)
        costs["ours, aiohttp"].append(cost)
        for name in ("locust", "k6", "hey", "wrk") if peers else ():
            with _peer(name)(asked, folder) as pid:
                costs[name].append(measured(server, pid, asked, seconds))
    _costs(f"CPU per HTTP request at {PER_SECOND:,.0f}/s (wrk: unpaced), us", costs, PER_SECOND)


def _costs(title: str, costs: dict[str, list[Cost | None]], per_second: float) -> None:
    """A table of costs; ratios to the first row, within each turn."""
    base = next(iter(costs.values()))
    print(f"\n{title}\n{'':28}{'median':>10}{'ratio':>8}{'least':>10}{'a second':>12}")
    for name, each in costs.items():
        seen = [(cost, first) for cost, first in zip(each, base, strict=True) if cost and first]
        if not seen:
            print(f"{name:28}  not here")
            continue
        us = [cost[0] for cost, _ in seen]
        ratio = median(cost[0] / first[0] for cost, first in seen)
        rate = median(cost[1] for cost, _ in seen)
        print(f"{name:28}{median(us):10.1f}{ratio:8.2f}{min(us):10.1f}{rate:12,.0f}")


def _asleep(per_second: float) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=sleeping, args=(there, per_second))
    process.start()
    p50, p99 = here.recv()
    process.join()
    return p50, p99


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--seconds", type=float, default=8.0)
    given = options.parse_args()
    main(given.turns, given.seconds, peers=True)
