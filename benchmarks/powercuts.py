"""What a power cut takes from a store, sound and careless: acknowledged writes that are not there.

python -m benchmarks.powercuts [CUTS]

Every cut comes at a seeded moment while one client writes as fast as it is answered. A store that
syncs before it answers may lose nothing; one that answers first has to lose something, or the cut
proves nothing.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic_ns
from typing import Any

import anyio
import asyncpg
from anyio import create_task_group, fail_after, sleep
from redis.asyncio import Redis
from redis.exceptions import RedisError

from benchmarks.standing import leased, unsaid
from faults.disk import PowerCut
from lab.campaign import prepare
from lab.fault import applied
from lab.images.ensure import ImageNeed
from lab.journal import Journal
from lab.seeds import stream
from lab.stack.file import load
from lab.stack.fittings import KEEPER_IMAGE, Fitting
from lab.stack.standing import Stack
from lab.system import Endpoint

SYSTEM = Path(__file__).with_name("durable")
SEED = 20
CUTS = 20
BACK_SECONDS = 20.0
EARLIEST_SECONDS, LATEST_SECONDS = 0.3, 1.3
"""Longer than the second between two syncs of Redis's `everysec`."""


@dataclass(frozen=True, slots=True)
class Store:
    """A way to write to a store and read it back. `careless`: it answers before it has synced."""

    name: str
    service: str
    careless: bool
    set_up: Callable[[Endpoint, str], Awaitable[None]]
    writing: Callable[[Endpoint, str, list[int]], Awaitable[None]]
    reading: Callable[[Endpoint, str], Awaitable[set[int]]]


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut: how many writes were acknowledged before it, and how many of those are gone."""

    acknowledged: int
    lost: int


async def _postgres(where: Endpoint, password: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=where.host, port=where.port, user="postgres", password=password, timeout=5, ssl=False
    )


def _set_up_postgres(fsync: str) -> Callable[[Endpoint, str], Awaitable[None]]:
    async def set_up(where: Endpoint, password: str) -> None:
        connection = await _postgres(where, password)
        await connection.execute("CREATE TABLE IF NOT EXISTS written (n bigint PRIMARY KEY)")
        await connection.execute("TRUNCATE written")
        await connection.execute(f"ALTER SYSTEM SET fsync = {fsync}")
        await connection.execute("CHECKPOINT")
        await connection.execute("SELECT pg_reload_conf()")
        while await connection.fetchval("SHOW fsync") != fsync:  # noqa: ASYNC110 - a signal to it
            await sleep(0.01)
        await connection.close()

    return set_up


async def _write_postgres(where: Endpoint, password: str, done: list[int]) -> None:
    connection = await _postgres(where, password)
    while True:
        await connection.execute("INSERT INTO written VALUES ($1)", len(done))
        done.append(len(done))


async def _read_postgres(where: Endpoint, password: str) -> set[int]:
    connection = await _postgres(where, password)
    rows = await connection.fetch("SELECT n FROM written")
    await connection.close()
    return {row["n"] for row in rows}


def _redis(where: Endpoint) -> Any:
    """redis-py's commands are only partly typed."""
    return Redis(host=where.host, port=where.port, socket_timeout=5, socket_connect_timeout=5)


def _set_up_redis(policy: str) -> Callable[[Endpoint, str], Awaitable[None]]:
    async def set_up(where: Endpoint, password: str) -> None:
        async with _redis(where) as redis:
            await redis.config_set("appendfsync", policy)
            await redis.delete("written")

    return set_up


async def _write_redis(where: Endpoint, password: str, done: list[int]) -> None:
    async with _redis(where) as redis:
        while True:
            await redis.execute_command("SADD", "written", len(done))
            done.append(len(done))


async def _read_redis(where: Endpoint, password: str) -> set[int]:
    async with _redis(where) as redis:
        members: set[bytes] = await redis.execute_command("SMEMBERS", "written")
        return {int(member) for member in members}


STORES = (
    Store("Postgres, fsync on", "postgres", False,
          _set_up_postgres("on"), _write_postgres, _read_postgres),
    Store("Postgres, fsync off", "postgres", True,
          _set_up_postgres("off"), _write_postgres, _read_postgres),
    Store("Redis, appendfsync always", "redis", False,
          _set_up_redis("always"), _write_redis, _read_redis),
    Store("Redis, appendfsync everysec", "redis", True,
          _set_up_redis("everysec"), _write_redis, _read_redis),
)  # fmt: skip
GONE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError)
"""What a client of a store without power sees."""


@asynccontextmanager
async def stores(folder: Path, *also: Fitting) -> AsyncGenerator[Stack]:
    """Both stores on disks of their own, and fitted with what is asked for besides."""
    system = load(SYSTEM)
    await prepare([system], unsaid, (ImageNeed(KEEPER_IMAGE),))
    async with leased(system, folder, fittings={Fitting.DISKS, *also}) as stack:
        yield stack


async def cut(store: Store, stack: Stack, folder: Path, random: Random) -> Cut:
    """Write, cut the power at a random moment, give it back, and count what is missing."""
    where, password = stack.site.entrance(store.service), stack.site.variables["POSTGRES_PASSWORD"]
    await store.set_up(where, password)
    done: list[int] = []

    async def write() -> None:
        try:
            await store.writing(where, password, done)
        except GONE:
            return

    async with create_task_group() as tasks:
        tasks.start_soon(write)
        await sleep(random.uniform(EARLIEST_SECONDS, LATEST_SECONDS))
        with Journal(folder) as journal:
            async with applied(
                PowerCut(store.service), stack.lab, journal, epoch_ns=monotonic_ns()
            ):
                tasks.cancel_scope.cancel()
    there = await _read_back(store, where, password)
    return Cut(len(done), len(set(done) - there))


async def _read_back(store: Store, where: Endpoint, password: str) -> set[int]:
    with fail_after(BACK_SECONDS):
        while True:
            try:
                return await store.reading(where, password)
            except GONE:
                await sleep(0.05)


def told(store: Store, cuts: list[Cut]) -> str:
    """One line of the table."""
    lossy, lost = sum(c.lost > 0 for c in cuts), sum(c.lost for c in cuts)
    acknowledged = sum(c.acknowledged for c in cuts)
    return f"{store.name:28} {len(cuts):5} {lossy:8} {acknowledged:13} {lost:9}"


async def measure(count: int) -> bool:
    """Print the table; whether the sound stores lost nothing and the careless ones something."""
    say = sys.stdout.write
    say(f"{'store':28} {'cuts':>5} {'with loss':>9} {'acknowledged':>12} {'lost':>9}\n")
    right = True
    with TemporaryDirectory() as name:
        async with stores(Path(name)) as stack:
            for store in STORES:
                random = stream(SEED, "power cuts", store.name)
                cuts = [await cut(store, stack, Path(name), random) for _ in range(count)]
                say(told(store, cuts) + "\n")
                sys.stdout.flush()
                right &= (sum(c.lost for c in cuts) > 0) is store.careless
    return right


def main(count: int = CUTS) -> bool:
    """Measure with `count` cuts a store."""
    return anyio.run(measure, count)


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else CUTS) else 1)
