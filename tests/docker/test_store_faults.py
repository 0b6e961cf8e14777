"""Faults inside stores and stubs, on real ones with no platform around; one stack for all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import cast

import asyncpg
import pytest
from redis.asyncio import Redis

from faults.postgres import DdlQueue, Deadlock, LockHold, TerminateBackends
from faults.postgres_server import ConnectionExhaustion, LostCommitAck, PostgresReadOnly
from faults.redis import Block, Evict, KeyExpire, KillClients, RedisReadOnly
from faults.stores import mark
from lab.errors import UsageError
from lab.fault import Fault, Observing, settings
from lab.hands import Lab
from lab.hands.containers import AgentProcess
from lab.stack.standing import Stack
from tests.conformance import Look, Subject, check_fault
from tests.docker.standing import Held, fresh_run, held
from tests.faults.examples import INSIDE, Make, told

pytestmark = pytest.mark.docker
STORES = Path(__file__).with_name("stores")
TENANTS = {"target-0": "t-0", "other-0": "t-1"}
ONE_OF_EACH_WAY = {"lock_hold", "evict"}
"""Held sessions, held settings: every step of these is cancelled once."""
SHORT = 0.3
UPDATE = "UPDATE orders SET id = id WHERE tenant_id = $1"
SEEN = """
SELECT application_name, count(*) FROM pg_stat_activity
WHERE application_name LIKE 'lab:%' GROUP BY 1
UNION ALL SELECT name || '=' || setting, 1 FROM pg_settings
WHERE name IN ('default_transaction_read_only', 'synchronous_standby_names')
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Held]:
    with held(tmp_path_factory.mktemp("stores"), fresh_run(), STORES) as stack:
        yield stack


def lab_of(stack: Stack) -> Lab:
    return replace(stack.lab, tenants=TENANTS)


async def look(stack: Stack) -> Look:
    """What stands in both stores and in the stub, read by the administrator."""
    lab, start = stack.lab, stack.start
    figures = await lab.redis.figures()
    postgres: Mapping[str, float] = await lab.postgres.figures(SEEN)
    words = ("CONFIG", "GET", "maxmemory", "min-replicas-to-write")
    clients = await lab.redis.call("CLIENT", "LIST", "TYPE", "normal")
    stub, _ = start.engine.execute(start.ids["stub"], ["test", "-e", "/tmp/fail"])
    state = {
        "links": await stack.links.toxics(),
        "postgres": dict(postgres),
        "redis": (await lab.redis.call(*words), clients.count("user=lab ")),
        "stub": stub,
    }
    return Look(state, {"flushed": figures.get("cmdstat_flushall.calls", 0.0)})


@pytest.mark.parametrize("make", INSIDE, ids=told)
def test_a_fault_inside_a_store_is_there_and_another_process_can_heal_it(
    make: Make, up: Held
) -> None:
    async def story() -> None:
        lab, fault = lab_of(up.stack), make()
        await lab.redis.call("SET", "any", "x")  # something to forget
        before = await look(up.stack)
        await fault.inject(lab)
        assert await look(up.stack) != before
        again = cast("Callable[..., Fault]", type(fault))(**settings(fault))
        await again.heal(lab)
        assert (await look(up.stack)).state == before.state

    up.do(story)


@pytest.mark.parametrize("make", [m for m in INSIDE if m().kind in ONE_OF_EACH_WAY], ids=told)
def test_every_way_of_holding_keeps_the_whole_contract(make: Make, up: Held) -> None:
    @asynccontextmanager
    async def subject() -> AsyncGenerator[Subject]:
        yield Subject(lab_of(up.stack), lambda: look(up.stack))

    up.do(lambda: check_fault(make, subject))


@asynccontextmanager
async def in_place(fault: Fault, lab: Lab) -> AsyncGenerator[dict[str, float]]:
    """The fault held for the block; how its counters grew, once the block is over."""
    grown: dict[str, float] = {}
    nothing: Mapping[str, float] = {}
    before = await fault.observe(lab) if isinstance(fault, Observing) else nothing
    try:
        await fault.inject(lab)
        yield grown
        after = await fault.observe(lab) if isinstance(fault, Observing) else nothing
        grown |= {name: value - before.get(name, 0.0) for name, value in after.items()}
    finally:
        await fault.heal(lab)


@asynccontextmanager
async def shop(
    stack: Stack, tenant: str = "", *, link: bool = False
) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A session of the system's own, past all faults or through the link."""
    where = stack.site.entrance("shop") if link else stack.site.observers["postgres"]
    name = f"tenant {tenant}" if tenant else "nobody"
    session = await asyncpg.connect(
        host=where.host, port=where.port, user="shop", database="shop", ssl=False, timeout=3,
        password=stack.site.variables["POSTGRES_PASSWORD"],
        server_settings={"application_name": name},
    )  # fmt: skip
    try:
        yield session
    finally:
        session.terminate()


async def waits(work: Awaitable[object]) -> bool:
    """Whether it is not done after a short while."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=SHORT)
    if done:
        task.result()
    else:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
    return not done


def test_a_held_lock_is_felt_by_one_tenant_and_by_no_other(up: Held) -> None:
    async def story() -> float:
        lock, lab = LockHold("target-0", "orders"), lab_of(up.stack)
        sessions = shop(up.stack), shop(up.stack)
        async with sessions[0] as other, sessions[1] as target, in_place(lock, lab) as grown:
            assert await other.execute(UPDATE, "t-1") == "UPDATE 5"
            assert await waits(target.execute(UPDATE, "t-0"))
        return grown[f"{mark(lock)}.waiting"]

    assert up.do(story) == 1


def test_behind_a_queued_schema_change_even_readers_wait(up: Held) -> None:
    async def story() -> None:
        fault, lab = DdlQueue("stock"), lab_of(up.stack)
        async with shop(up.stack) as reader, in_place(fault, lab):
            assert await waits(reader.fetch("SELECT * FROM stock"))
            assert await fault.observe(lab) == {f"{mark(fault)}.waiting": 1.0}
        async with shop(up.stack) as reader:
            assert len(await reader.fetch("SELECT * FROM stock")) == 10

    up.do(story)


def test_the_victim_of_a_deadlock_is_never_the_lab(up: Held) -> None:
    async def locked_in_order(session: asyncpg.Connection[asyncpg.Record]) -> bool:
        try:
            async with session.transaction():
                await session.execute(UPDATE, "t-0")
                await asyncio.sleep(0.1)
                await session.execute("UPDATE stock SET id = id WHERE tenant_id = 't-0'")
        except asyncpg.DeadlockDetectedError:
            return True
        return False

    async def story() -> float:
        fault = Deadlock("target-0", "orders", "stock")
        async with shop(up.stack) as session, in_place(fault, lab_of(up.stack)) as grown:
            async with asyncio.timeout(20):
                while not await locked_in_order(session):
                    pass
                # a server publishes its counters once a second
                lab = lab_of(up.stack)
                while not (await fault.observe(lab))["postgres.deadlocks"]:
                    pass
        return grown["postgres.deadlocks"]

    assert up.do(story) >= 1


def test_only_the_sessions_of_one_tenant_are_terminated(up: Held) -> None:
    async def story() -> float:
        sessions = shop(up.stack, "t-0"), shop(up.stack, "t-1")
        fault = TerminateBackends("target-0")
        async with sessions[0] as target, sessions[1] as other:
            closed = asyncio.Event()
            target.add_termination_listener(lambda _: closed.set())
            async with in_place(fault, lab_of(up.stack)) as grown, asyncio.timeout(5):
                await closed.wait()
                assert await other.fetchval("SELECT 1") == 1
        return grown[f"{mark(fault)}.ended"]

    assert up.do(story) >= 1


def test_when_connections_run_out_those_that_are_open_stay(up: Held) -> None:
    async def story() -> None:
        fault = ConnectionExhaustion(leave=1)
        async with shop(up.stack) as first, in_place(fault, lab_of(up.stack)):
            async with shop(up.stack):
                with pytest.raises(asyncpg.TooManyConnectionsError):
                    async with shop(up.stack):
                        pass
            assert await first.fetchval("SELECT 1") == 1

    up.do(story)


def test_an_open_session_cannot_write_any_more_and_then_can_again(up: Held) -> None:
    async def story() -> None:
        async with shop(up.stack) as session:
            async with in_place(PostgresReadOnly(), lab_of(up.stack)):
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await session.execute(UPDATE, "t-0")
            await session.execute(UPDATE, "t-0")

    up.do(story)


def test_a_commit_is_done_and_nobody_is_told(up: Held) -> None:
    insert = "INSERT INTO orders VALUES ('t-9', 1)"

    async def story() -> float:
        lab = lab_of(up.stack)
        async with shop(up.stack, link=True) as writer, shop(up.stack) as reader:
            fault = LostCommitAck("shop", wait_ms=500)

            async def written() -> None:
                while not (await lab.postgres.figures(SEEN)).get(
                    "synchronous_standby_names=nobody"
                ):
                    pass
                await writer.execute(insert)

            writing = asyncio.ensure_future(written())
            async with in_place(fault, lab) as grown:
                with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
                    await writing
            rows = await reader.fetch("SELECT 1 FROM orders WHERE tenant_id = 't-9'")
            assert len(rows) == 1, "it was not committed"
        return grown["postgres.unacknowledged"]

    assert up.do(story) == 1


@asynccontextmanager
async def cache(stack: Stack) -> AsyncGenerator[Redis]:
    where = stack.site.observers["redis"]
    password = stack.site.variables["REDIS_PASSWORD"]
    client = Redis(host=where.host, port=where.port, username="lab", password=password)
    async with client:
        yield client


def test_one_tenants_keys_expire_and_no_others(up: Held) -> None:
    async def story() -> float:
        async with cache(up.stack) as redis:
            for key in ("cart:t-0:a", "cart:t-0:b", "cart:t-00:a", "cart:t-1:a"):
                await redis.set(key, "x")
            async with in_place(KeyExpire("target-0", 50), lab_of(up.stack)) as grown:
                async with asyncio.timeout(3):
                    while await redis.exists("cart:t-0:a", "cart:t-0:b"):
                        pass
                assert await redis.exists("cart:t-00:a", "cart:t-1:a") == 2
        return grown["redis.cmdstat_pexpire.calls"]

    assert up.do(story) == 2


def test_a_redis_short_of_memory_evicts_and_one_without_replicas_refuses(up: Held) -> None:
    async def story() -> tuple[float, float]:
        async with cache(up.stack) as redis:
            async with in_place(Evict(2), lab_of(up.stack)) as evicted:
                for n in range(40):
                    await redis.set(f"big:{n}", "x" * 100_000)
            async with in_place(RedisReadOnly(), lab_of(up.stack)) as refused:
                with pytest.raises(Exception, match="NOREPLICAS"):
                    await redis.set("a", "b")
            await redis.set("a", "b")
        return evicted["redis.evicted_keys"], refused["redis.errorstat_NOREPLICAS.count"]

    evicted, refused = up.do(story)
    assert evicted > 0
    assert refused == 1


def test_a_blocked_redis_answers_late_and_a_killed_client_comes_back(up: Held) -> None:
    async def slowest(redis: Redis, seconds: float) -> float:
        worst, until = 0.0, time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            await redis.get("a")
            worst = max(worst, time.monotonic() - began)
        return worst

    async def story() -> float:
        async with cache(up.stack) as redis:
            await redis.get("a")
            async with in_place(Block(200, 300), lab_of(up.stack)):
                worst = await slowest(redis, 1.0)
            async with in_place(KillClients(100), lab_of(up.stack)):
                await asyncio.sleep(0.3)
                await redis.get("a")
        return worst

    assert up.do(story) > 0.15


@pytest.mark.parametrize("fault", [PostgresReadOnly(), Evict(8)], ids=lambda fault: fault.kind)
def test_a_setting_comes_back_though_its_holder_was_killed(fault: Fault, up: Held) -> None:
    async def story() -> None:
        lab = lab_of(up.stack)
        before = await look(up.stack)
        await fault.inject(lab)
        service = "postgres" if isinstance(fault, PostgresReadOnly) else "redis"
        for row in await up.stack.containers.process_table(service):
            if row.args[3:4] == (mark(fault),):
                holder = AgentProcess(service, row.pid, row.started)
                await lab.containers.kill_process(holder, SIGKILL)
        await fault.heal(lab)
        assert (await look(up.stack)).state == before.state

    up.do(story)


KILLED = """
import sys, time
from lab.engine.api import engine
from lab.engine.held import begun
with engine() as client:
    wire = begun(client, sys.argv[1], ("lab:test", "touch /tmp/held", "rm /tmp/held"))
    assert wire.held(5)
    print("held", flush=True)
    time.sleep(60)
"""


def test_what_is_held_is_undone_when_the_lab_is_killed(up: Held) -> None:
    container = up.stack.start.ids["stub"]

    def there() -> bool:
        return up.stack.start.engine.execute(container, ["test", "-e", "/tmp/held"])[0] == 0

    command = [sys.executable, "-c", KILLED, container]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=STORES.parents[2]) as lab:
        assert lab.stdout is not None
        assert lab.stdout.readline() == b"held\n"
        assert there()
        lab.kill()
    until = time.monotonic() + 5
    while there() and time.monotonic() < until:
        pass
    assert not there()


def test_a_database_without_this_runs_mark_is_refused_before_anything_is_done(up: Held) -> None:
    async def story() -> None:
        lab, container = lab_of(up.stack), up.stack.start.ids["postgres"]
        mark = "UPDATE lab_marker SET run = '{}'"

        def marked(run: str) -> None:
            words = ["psql", "-U", "postgres", "-d", "shop", "-c", mark.format(run)]
            status, _ = up.stack.start.engine.execute(container, words)
            assert status == 0

        marked("another")
        object.__setattr__(lab.postgres, "_marked", False)  # as a process that has not looked yet
        try:
            with pytest.raises(UsageError, match="not marked as this run's"):
                await LockHold("target-0", "orders").inject(lab)
        finally:
            marked(up.run)

    up.do(story)
