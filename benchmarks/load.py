# ruff: noqa: T201 - prints its table
"""What the load engine costs and how punctual it is: `python -m benchmarks.load`.

CPU of the engine's process per WebSocket operation at 1,000 a second over 200 tenants, beside bare
`websockets` send and receive over as many connections in a process of its own in the same run: at
the same pace (each round trip wakes the process, as in the engine) and without pause (many answers
a wake-up, so no paced client can come near). And how late actions are sent, beside `asyncio.sleep`.
Ratios are what compares between machines.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import anyio
from websockets.asyncio.server import ServerConnection, serve

from benchmarks import echo
from lab.actions import Read
from lab.history import Op, Outcome
from lab.load.generator import generating
from lab.load.wire import GeneratorPlan, Health, PhasePlan
from lab.system import Endpoint, Site, Tenant
from lab.workload import Workload

TENANTS, PER_SECOND, SECONDS = 200, 1_000.0, 8.0


def serving(told: Connection) -> None:
    """An echo server in a process of its own."""

    async def echoed(connection: ServerConnection) -> None:
        async for text in connection:
            await connection.send(text)

    async def run() -> None:
        async with serve(echoed, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
            told.send(next(iter(server.sockets)).getsockname()[1])
            await asyncio.get_running_loop().create_future()

    asyncio.run(run())


def bare(port: int, told: Connection, per_second: float) -> None:
    """Microseconds of CPU per bare send and receive, each connection one at a time; 0: no pause."""

    async def run() -> float:
        uri = f"ws://127.0.0.1:{port}"
        connections = [await echo.opened(uri) for _ in range(TENANTS)]
        text = f"bare/tenant-100/0/1000 {echo.PADDING}"
        rounds = int(PER_SECOND * SECONDS) // TENANTS

        rng = Random(1)

        async def loop(connection: echo.ClientConnection) -> None:
            for _ in range(rounds):
                if per_second:
                    await asyncio.sleep(rng.expovariate(per_second / TENANTS))
                await connection.send(text)
                await connection.recv()

        began = time.process_time()
        await asyncio.gather(*(loop(connection) for connection in connections))
        used = time.process_time() - began
        for connection in connections:
            await connection.close()
        return used / (rounds * TENANTS) * 1e6

    told.send(asyncio.run(run()))


def sleeping(told: Connection) -> None:
    """Lateness in ms (p50, p99) of the same arrivals, paced by plain `asyncio.sleep`."""

    async def run() -> tuple[float, float]:
        rng, due_ns = Random(1), time.monotonic_ns()
        late: list[int] = []
        for _ in range(int(PER_SECOND * 3)):
            due_ns += int(rng.expovariate(PER_SECOND / 1e9))
            if (left_ns := due_ns - time.monotonic_ns()) > 0:
                await asyncio.sleep(left_ns / 1e9)
            late.append(time.monotonic_ns() - due_ns)
        late.sort()
        return late[len(late) // 2] / 1e6, late[len(late) * 99 // 100] / 1e6

    told.send(asyncio.run(run()))


async def engine(port: int) -> tuple[Health, list[Op]]:
    """The engine's own word on one phase."""
    site = Site({("client", ""): Endpoint("127.0.0.1", port)}, {}, {})
    tenants = tuple(Tenant(f"tenant-{n}", f"t-{n}", "all") for n in range(TENANTS))
    plan = GeneratorPlan(Path(echo.__file__), site, tenants, 1, time.monotonic_ns())
    workload = Workload("all", echo.reads, PER_SECOND / TENANTS, frozenset({Read}))
    ops: list[Op] = []
    async with generating(plan, on_ops=ops.extend) as generator:
        connected = await generator.connect()
        assert not connected.failed, connected.failed
        start_ns = time.monotonic_ns() + 200_000_000
        await generator.play(PhasePlan("load", start_ns, SECONDS, (workload,)))
        await anyio.sleep(SECONDS + 0.3)
        health = await generator.finish(drain_seconds=2)
    return health.phases["load"], ops


def main() -> None:
    """Measure and print the table."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serving, args=(there,), daemon=True)
    server.start()
    port = int(here.recv())
    paced_us = float(_answer(context.Process(target=bare, args=(port, there, PER_SECOND)), here))
    bare_us = float(_answer(context.Process(target=bare, args=(port, there, 0.0)), here))
    sleep_p50_ms, sleep_p99_ms = _answer(context.Process(target=sleeping, args=(there,)), here)
    health, ops = anyio.run(engine, port)
    server.kill()
    server.join()
    failed = sum(op.outcome is not Outcome.OK for op in ops)
    engine_us = health.cpu_seconds / health.sent * 1e6
    offered = health.sent / health.seconds
    print(f"{TENANTS} tenants, {PER_SECOND:g}/s for {SECONDS:g} s, {os.cpu_count()} cores")
    print(f"{'':28}{'engine':>10}{'beside':>10}{'ratio':>8}")
    _row("CPU per operation, us", engine_us, paced_us, "bare websockets, same pace")
    _row("", engine_us, bare_us, "bare websockets, no pause")
    _row("lateness p50, ms", health.lateness_p50_ms, sleep_p50_ms, "asyncio.sleep")
    _row("lateness p99, ms", health.lateness_p99_ms, sleep_p99_ms, "asyncio.sleep")
    _row("operations a second", offered, PER_SECOND, "as asked")
    print(f"failed {failed}, worst stall {health.stall_max_ms:.1f} ms")


def _answer(process: BaseProcess, here: Any) -> Any:
    """What a process sends, once it has ended."""
    process.start()
    answer = here.recv()
    process.join()
    return answer


def _row(what: str, ours: float, beside: float, name: str) -> None:
    print(f"{what:28}{ours:10.2f}{beside:10.2f}{ours / beside:8.2f}  {name}")


if __name__ == "__main__":
    main()
