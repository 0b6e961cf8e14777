"""Certificates of the defects in credits, configurations, claims, commits and connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg

from lab.actions import Action, Claim, Edit, Spend, Write
from lab.system import Session, Tenant
from tests.compose.reference.certificates import certificate
from tests.compose.reference.database import (
    commits_held,
    locked,
    superuser,
    waiting,
    with_lost_commit,
)  # fmt: skip
from tests.compose.reference.levers import call
from tests.compose.reference.stacks import Running, ask, eventually

CREDITS = 1000
BALANCE = "SELECT balance FROM credits WHERE tenant_id = $1"
SPENT = "SELECT coalesce(-sum(amount), 0) FROM credit_ledger WHERE tenant_id = $1"
ENTRIES = "SELECT count(*) FROM credit_ledger WHERE tenant_id = $1"
HELD = "SELECT count(*) FROM allocations WHERE tenant_id = $1"
COUNTED = "SELECT coalesce(sum(count), 0) FROM usage WHERE tenant_id = $1"
UNSENT = "SELECT count(*) FROM outbox WHERE tenant_id = $1 AND relayed_at IS NULL"
NAMED = "application_name = 'tenant ' || $1"
"""How the platform names a connection as long as it is in a tenant's transaction."""
LOCKED_OUT = f"SELECT pid FROM pg_stat_activity WHERE {NAMED} AND wait_event_type = 'Lock'"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state <> 'idle'"
IDLE = """
SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state LIKE 'idle in transaction%'
AND state_change < clock_timestamp() - interval '1 second'
"""
UNSAFE = f"SELECT count(*) FROM pg_stat_activity WHERE {NAMED} AND wait_event = 'SyncRep'"
WRONG = ("refused", "unknown")
GIVEN_BACK_SECONDS = 3.0
HELD_SECONDS = 0.6
"""So long an answer has to be early; below the second that the platform gives a COMMIT."""


async def number(running: Running, query: str, *values: object) -> int:
    """What the database has to say to a superuser."""
    async with superuser(running) as connection:
        return int(await connection.fetchval(query, *values))


async def _at_once(
    running: Running, table: str, tenant: Tenant, asked: list[tuple[Session, Action]]
) -> list[str]:
    """The answers to actions that all wait for the tenant's row before any of them goes on."""
    async with locked(running, table, tenant):
        tasks = [
            asyncio.create_task(ask(session, action, f"at-once-{n}"))
            for n, (session, action) in enumerate(asked)
        ]
        await waiting(running, len(tasks))
    return list(await asyncio.gather(*tasks))


@certificate("debit_read_modify_write")
async def a_debit_that_is_lost(running: Running) -> str:
    """Two debits at once; the balance is what the ledger says."""
    tenant, session = await running.session()
    told = await _at_once(running, "credits", tenant, [(session, Spend(300))] * 2)
    balance = await number(running, BALANCE, tenant.id)
    spent = await number(running, SPENT, tenant.id)
    return f"{told}: {CREDITS} - {spent} is {balance}" if CREDITS - spent != balance else ""


@certificate("overdraft_clamped")
async def more_is_spent_than_there_was(running: Running) -> str:
    """Two debits at once, for which there is not enough."""
    tenant, session = await running.session()
    told = await _at_once(running, "credits", tenant, [(session, Spend(600))] * 2)
    spent = await number(running, SPENT, tenant.id)
    return f"{told}: {spent} were spent of {CREDITS}" if spent > CREDITS else ""


@certificate("message_key_ignored")
async def a_repeated_message_is_done_twice(running: Running) -> str:
    """The same message is sent twice."""
    tenant, session = await running.session()
    first, again = [await ask(session, Spend(100), "same") for _ in range(2)]
    entries = await number(running, ENTRIES, tenant.id)
    return f"told {first} and {again}, {entries} entries" if entries != 1 else ""


@certificate("retry_without_key")
async def a_lost_commit_is_done_twice(running: Running) -> str:
    """The answer to a COMMIT is lost, and the connection with it."""
    tenant, session = await running.session()
    told = await with_lost_commit(running, session, tenant, Spend(100), for_good=False)
    entries = await number(running, ENTRIES, tenant.id)
    return f"told {told}, {entries} entries" if entries != 1 else ""


@certificate("in_doubt_as_failed")
async def a_commit_in_doubt_is_told_as_failed(running: Running) -> str:
    """A COMMIT hangs until its message is answered, and then comes true."""
    tenant, session = await running.session()
    async with commits_held(running, tenant):
        told = await ask(session, Spend(100), "held")
    assert told.startswith(WRONG), told

    async def committed() -> bool:
        return await number(running, ENTRIES, tenant.id) == 1

    await eventually(committed)
    return f"told {told}, and it is in the ledger" if told.startswith("refused") else ""


@certificate("deadlock_not_retried")
async def a_deadlock_is_the_tenant_s_problem(running: Running) -> str:
    """Somebody else's transaction and a debit wait for each other; the server ends the debit."""
    tenant, session = await running.session()
    async with superuser(running) as other:
        await other.execute("SET deadlock_timeout = '10s'")
        turn = other.transaction()
        await turn.start()
        await other.execute("SELECT 1 FROM credits WHERE tenant_id = $1 FOR UPDATE", tenant.id)
        told = asyncio.create_task(ask(session, Spend(100), "key"))
        await waiting(running, 1)
        await other.execute(
            "INSERT INTO credit_ledger (tenant_id, message_id, user_id, amount) "
            "VALUES ($1, 'key', 'user', 0)",
            tenant.id,
        )
        await turn.rollback()
    answer = await told
    return "" if answer == str(CREDITS - 100) else f"after a deadlock: {answer}"


@certificate("edit_rowcount_ignored")
async def an_edit_that_set_nothing_is_a_success(running: Running) -> str:
    """An edit that expects a version of long ago."""
    _, session = await running.session()
    answer = await ask(session, Edit("assistant", 0), "stale")
    return "" if answer == "refused version_conflict" else f"version 0 is gone: {answer}"


@certificate("edit_version_kept")
async def two_editors_of_one_version(running: Running) -> str:
    """Two edits, one after the other, that expect the same version."""
    _, session = await running.session()
    first, second = [await ask(session, Edit("assistant", 1), f"edit-{n}") for n in range(2)]
    return "" if second == "refused version_conflict" else f"both were told {first} and {second}"


@certificate("over_allocation")
async def one_unit_too_many(running: Running) -> str:
    """Two units, of which one is taken; two claims at once."""
    tenant, session = await running.session()
    assert not (await ask(session, Claim("seat"), "first")).startswith(WRONG)
    told = await _at_once(running, "resources", tenant, [(session, Claim("seat"))] * 2)
    held = await number(running, HELD, tenant.id)
    return f"{told}: {held} of 2 units are held" if held > 2 else ""


async def _claimed(running: Running) -> tuple[Tenant, Session]:
    tenant, session = await running.session()
    assert not (await ask(session, Claim("seat"), "claim")).startswith(WRONG)
    return tenant, session


@certificate("claims_kept")
async def a_claim_outlives_its_socket(running: Running) -> str:
    """A socket that has claimed something ends."""
    tenant, session = await _claimed(running)
    await session.close()

    async def free() -> bool:
        return not await number(running, HELD, tenant.id)

    try:
        await eventually(free, GIVEN_BACK_SECONDS)
    except TimeoutError:
        return f"{GIVEN_BACK_SECONDS:g} s after the socket its claim is held"
    return ""


@certificate("release_of_others")
async def a_claim_goes_with_another_socket(running: Running) -> str:
    """Two sockets of a tenant hold one unit each; one of them ends."""
    tenant, session = await _claimed(running)
    await ask(await running.connect(tenant), Claim("seat"), "mine")
    await session.close()

    async def released() -> bool:
        return await number(running, HELD, tenant.id) < 2

    await eventually(released)
    held = await number(running, HELD, tenant.id)
    return f"{held} units are held by the socket that is left" if held != 1 else ""


@certificate("lease_without_end")
async def a_claim_for_ever(running: Running) -> str:
    """How long a claim is good for, if nobody gives it back."""
    tenant, _ = await _claimed(running)
    days = "SELECT extract(day FROM max(expires_at) - now()) FROM allocations WHERE tenant_id = $1"
    left = await number(running, days, tenant.id)
    return f"the lease ends in {left} days" if left else ""


@certificate("redelivery_without_dedupe")
async def an_event_is_counted_twice(running: Running) -> str:
    """The relay has delivered an event and forgotten it, as after a crash between the two."""
    tenant, session = await running.session()
    async with superuser(running) as connection:

        async def sent() -> bool:
            return not await connection.fetchval(UNSENT, tenant.id)

        assert await ask(session, Write("k", "v"), "first") == "None"
        await eventually(sent)
        again = "UPDATE outbox SET relayed_at = NULL WHERE tenant_id = $1"
        await connection.execute(again, tenant.id)
        assert await ask(session, Write("k", "v"), "second") == "None"
        await eventually(sent)
        counted = int(await connection.fetchval(COUNTED, tenant.id))
    assert counted >= 2, counted
    return f"2 messages are counted as {counted}" if counted != 2 else ""


@certificate("ack_before_commit")
async def an_answer_before_the_commit(running: Running) -> str:
    """COMMIT hangs for a while; nothing may be answered before it is through."""
    tenant, session = await running.session()
    async with commits_held(running, tenant):
        told = asyncio.create_task(ask(session, Spend(100), "early"))
        await waiting(running, 1, "COMMIT")
        await asyncio.wait([told], timeout=HELD_SECONDS)
        early = told.done()
    answer = await told
    assert not (early and answer.startswith(WRONG)), answer
    return f"COMMIT hung, and the answer was {answer}" if early else ""


@certificate("synchronous_commit_off")
async def an_answer_before_the_disk(running: Running) -> str:
    """Every COMMIT is made to wait, after its disk, for a standby that there is not."""
    tenant, session = await running.session()
    async with superuser(running) as connection:

        async def decided() -> bool:
            return told.done() or bool(await connection.fetchval(UNSAFE, tenant.id))

        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try:
            await _reloaded(connection, hangs=True)
            told = asyncio.create_task(ask(session, Spend(100), "early"))
            await eventually(decided)
            early = told.done()
        finally:
            await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await _reloaded(connection, hangs=False)
    answer = await told
    assert not (early and answer.startswith(WRONG)), answer
    return f"COMMIT could not be safe, and the answer was {answer}" if early else ""


async def _reloaded(connection: asyncpg.Connection, *, hangs: bool) -> None:
    """Reload the configuration until a COMMIT hangs, or does not."""
    await connection.execute("SELECT pg_reload_conf()")

    async def so() -> bool:
        probe = "SELECT pg_logical_emit_message(true, 'probe', '')"
        try:
            await connection.execute(probe, timeout=0.1)
        except TimeoutError:
            return hangs
        return not hangs

    await eventually(so)


@certificate("idle_after_cancel")
async def a_transaction_that_nobody_ends(running: Running) -> str:
    """A tenant goes away while its debit waits for a lock."""
    tenant, session = await running.session()
    async with locked(running, "credits", tenant):
        told = asyncio.create_task(ask(session, Spend(100), "cancelled"))
        await waiting(running, 1)
        server = await number(running, LOCKED_OUT, tenant.id)
        session.abort()
        with suppress(ConnectionResetError):
            await told

        async def gone() -> bool:
            async with superuser(running) as connection:
                return not await connection.fetchval(LOCKED_OUT, tenant.id)

        await eventually(gone)
    while await number(running, OPEN, server):
        if await number(running, IDLE, server):
            return f"the transaction of {tenant.id} is open and idle"
    return ""


@certificate("connection_leak")
async def connections_that_nobody_gives_back(running: Running) -> str:
    """Debits that are refused; afterwards no connection is in use."""
    _, session = await running.session()
    assert not (await ask(session, Spend(1), "before")).startswith(WRONG)
    before = await _taken(running)
    for n in range(5):
        assert await ask(session, Spend(CREDITS + 1), f"n{n}") == "refused insufficient_credits"

    async def given_back() -> bool:
        return await _taken(running) <= before

    try:
        await eventually(given_back)
    except TimeoutError:
        return f"{before} connections were taken, and {await _taken(running)} are, by nobody"
    return ""


async def _taken(running: Running) -> int:
    """Connections in use, or forgotten."""
    return int((await call(running, "admin", "GET", "/counters", None))["pool"]["taken"])
