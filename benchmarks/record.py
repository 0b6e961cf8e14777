"""Records a trace for the judge's tests: real load on a real server, nobody attacking.

python -m benchmarks.record OUT.npz [--seconds 360] [--per-second 200] [--burn] [--first]

The load engine sends requests for eight tenants over WebSockets to a server process that works
0.25 ms on each and waits 4 ms or so, as for a store. --burn: strangers take up to two cores
meanwhile, in bursts of random length; --first: server and generator run before everybody else
(real-time priority), so that a busy machine looks like an idle one. Written are due times and
latencies in units of 10 us (infinite is 2**32 - 1), and the strangers' CPU, in ms for each 0.5 s.
The fixtures are `noisy --seconds 360` and `quiet --first --per-second 290 --seconds 300`, recorded
while several builds went on on both cores.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import time
from collections.abc import Sequence
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import anyio
import numpy as np
from websockets.asyncio.server import ServerConnection, serve

from lab import echo
from lab.actions import Read
from lab.history import Op
from lab.host import HostCpu, of_process
from lab.load.generator import generating
from lab.load.wire import GeneratorPlan, PhasePlan
from lab.system import Endpoint, Site, Tenant
from lab.workload import Workload

TENANTS = 8
BLOCK_SECONDS = 0.5
UNIT_MS = 0.01
WORK = b"x" * 65536
WAIT = (1.4, 0.4)
"""Log-normal, in ms: a median of 4, a p95 of 8."""


def serving(told: Connection) -> None:
    """A server that has to work for its answers, in a process of its own."""

    async def answered(connection: ServerConnection) -> None:
        rng = Random(connection.id.hex)
        async with asyncio.TaskGroup() as tasks:
            async for text in connection:
                tasks.create_task(answer(connection, text, rng.lognormvariate(*WAIT)))

    async def answer(connection: ServerConnection, text: str | bytes, wait_ms: float) -> None:
        sha256(WORK).digest()
        await asyncio.sleep(wait_ms / 1e3)
        await connection.send(text)

    async def run() -> None:
        async with serve(answered, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
            told.send(next(iter(server.sockets)).getsockname()[1])
            await asyncio.get_running_loop().create_future()

    asyncio.run(run())


def burning(seed: int) -> None:
    """A stranger: busy and idle in turns, a second or so each."""
    rng = Random(seed)
    while True:
        until = time.monotonic() + rng.expovariate(1.0)
        while time.monotonic() < until:
            sha256(WORK).digest()
        time.sleep(rng.expovariate(0.7))


def first(pids: Sequence[int]) -> None:
    """Let these processes, all threads of them, run before everybody else."""
    threads = (int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    for thread in threads:
        os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(5))


async def load(
    port: int, seconds: float, per_second: float, server: int, at_once: bool
) -> dict[str, np.ndarray]:
    """The trace's arrays."""
    site = Site({("client", ""): Endpoint("127.0.0.1", port)}, {}, {})
    tenants = tuple(Tenant(f"quiet-{n}", f"t-{n}", "quiet") for n in range(TENANTS))
    start_ns = time.monotonic_ns() + 2_000_000_000
    plan = GeneratorPlan(Path(echo.__file__), site, tenants, 1, start_ns)
    workload = Workload("quiet", echo.reads, per_second / TENANTS, frozenset({Read}))
    ops: list[Op] = []
    readings: list[tuple[float, float, float]] = []
    async with generating(plan, on_ops=ops.extend) as generator:
        if at_once:
            first([*generator.pids, server])
        cpu = HostCpu([time.process_time, *map(of_process, (*generator.pids, server))])
        await generator.connect()
        await generator.play(PhasePlan("load", start_ns, seconds, (workload,)))
        for block in range(int(seconds / BLOCK_SECONDS) + 1):
            await anyio.sleep(max(0.0, start_ns / 1e9 + block * BLOCK_SECONDS - time.monotonic()))
            at, values = time.monotonic() - start_ns / 1e9, cpu.values()
            readings.append((at, values["busy_seconds"], values["own_seconds"]))
        health = await generator.finish(drain_seconds=5)
    print(f"lateness p99 {health.lateness_p99_ms:.2f} ms, worst stall {health.stall_max_ms:.0f} ms")
    return arrays(ops, readings)


def arrays(ops: list[Op], readings: list[tuple[float, float, float]]) -> dict[str, np.ndarray]:
    """As small as they can be told: steps between due times, latencies, strangers a block."""
    ops.sort(key=lambda op: op.due_ns)
    unit_ns = UNIT_MS * 1e6
    due = np.array([round(op.due_ns / unit_ns) for op in ops])
    latency = np.array([min(op.latency_ms / UNIT_MS, 2**32 - 1) for op in ops]).round()
    table = np.array(readings, dtype=np.float64)
    edges = np.arange(len(table), dtype=np.float64) * BLOCK_SECONDS
    strangers = np.diff(np.interp(edges, table[:, 0], table[:, 1] - table[:, 2]))
    return {
        "due_step": np.diff(due, prepend=0).astype(np.uint16),
        "latency": latency.astype(np.uint32),
        "strangers_ms": np.maximum(0, strangers * 1e3).round().astype(np.uint16),
    }


def main() -> None:
    """Record one trace."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("out", type=Path)
    words.add_argument("--seconds", type=float, default=360)
    words.add_argument("--per-second", type=float, default=200)
    words.add_argument("--burn", action="store_true")
    words.add_argument("--first", action="store_true")
    asked = words.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serving, args=(there,), daemon=True)
    strangers = [context.Process(target=burning, args=(n,), daemon=True) for n in range(2)]
    server.start()
    for stranger in strangers if asked.burn else ():
        stranger.start()
    assert server.pid is not None
    found = anyio.run(
        load, int(here.recv()), asked.seconds, asked.per_second, server.pid, asked.first
    )
    for process in (server, *(strangers if asked.burn else ())):
        process.kill()
        process.join()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(asked.out, allow_pickle=False, **found)
    cores = found["strangers_ms"].mean() / BLOCK_SECONDS / 1e3
    print(f"{len(found['latency'])} requests, strangers took {cores:.2f} cores")


if __name__ == "__main__":
    main()
