"""Credits, configurations and claims through real sockets and a real Postgres: exact, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import asyncpg
import pytest

from lab.actions import Claim, Edit, Spend, Write
from lab.system import Tenant

from .database import app, locked, superuser, waiting, with_lost_commit
from .speech import told
from .stacks import Held, Running, ask, eventually, held

pytestmark = pytest.mark.docker

BALANCE = "SELECT balance FROM credits WHERE tenant_id = $1"
ENTRIES = "SELECT message_id, amount FROM credit_ledger WHERE tenant_id = $1"
TAKEN = "SELECT taken FROM resources WHERE tenant_id = $1"
HELD = "SELECT count(*) FROM allocations WHERE tenant_id = $1"


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


async def value(running: Running, query: str, tenant: Tenant) -> int:
    async with superuser(running) as connection:
        return int(await connection.fetchval(query, tenant.id))


def test_fifty_debits_at_once_spend_what_there_is_and_not_one_credit_more(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        asked = (ask(session, Spend(70), f"s{n}", 5.0) for n in range(30))
        answers = await asyncio.gather(*asked)
        assert sorted(int(a) for a in answers if a.isdigit()) == list(range(20, 1000, 70))
        assert set(answers) - set(map(str, range(1000))) == {"refused insufficient_credits"}
        async with superuser(running) as connection:
            entries = await connection.fetch(ENTRIES, tenant.id)
        assert len(entries) == 14
        assert await value(running, BALANCE, tenant) == 1000 - 14 * 70

    stack.do(body)


@pytest.mark.parametrize("for_good", [False, True])
def test_a_lost_commit_is_answered_with_the_truth_or_as_unknown_never_as_failed(
    stack: Held, for_good: bool
) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        answer = await with_lost_commit(running, session, tenant, Spend(100), for_good=for_good)
        assert answer == ("unknown postgres_unavailable" if for_good else "900")
        assert await value(running, BALANCE, tenant) == 900
        assert await ask(session, Spend(100), "lost") == "900"
        assert await value(running, BALANCE, tenant) == 900

    stack.do(body)


def test_a_message_that_is_sent_again_gets_the_same_answer_and_another_one_under_its_id_none(
    stack: Held,
) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        for action, answer in (
            (Spend(10), "990"), (Edit("assistant", 1), "2"), (Write("k", "v"), "None"),
            (Claim("seat"), "1"),
        ):  # fmt: skip
            name = type(action).__name__
            assert [await ask(session, action, name) for _ in range(3)] == [answer] * 3
            assert await ask(session, Spend(1), name) == "refused duplicate_message"
        assert await value(running, BALANCE, tenant) == 990
        assert await value(running, TAKEN, tenant) == await value(running, HELD, tenant) == 1

    stack.do(body)


def test_the_same_message_twice_at_once_is_done_once_and_answered_twice(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, one = await running.session()
        two = await running.connect(tenant)
        async with locked(running, "credits", tenant):
            tasks = [asyncio.create_task(ask(s, Spend(100), "same")) for s in (one, two)]
            await waiting(running, 2)
        assert await asyncio.gather(*tasks) == ["900", "900"]
        assert await value(running, BALANCE, tenant) == 900

    stack.do(body)


def test_of_many_editors_of_one_version_one_wins_and_the_versions_have_no_gap(
    stack: Held,
) -> None:
    async def body(running: Running) -> None:
        _, session = await running.session()
        for version in (1, 2):
            asked = (ask(session, Edit("assistant", version), f"e{version}{n}") for n in range(8))
            answers = sorted(await asyncio.gather(*asked))
            assert answers == [str(version + 1)] + ["refused version_conflict"] * 7

    stack.do(body)


def test_claims_never_pass_the_capacity_and_their_fencing_numbers_only_grow(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, first = await running.session()
        answers = await asyncio.gather(*(ask(first, Claim("seat"), f"c{n}") for n in range(10)))
        assert sorted(answers) == ["1", "2"] + ["refused resource_exhausted"] * 8
        assert await ask(first, Claim("nonsense"), "n") == "refused resource_exhausted"
        await first.close()

        async def free() -> bool:
            return await value(running, TAKEN, tenant) == 0

        await eventually(free)
        assert await ask(await running.connect(tenant), Claim("seat"), "later") == "3"

    stack.do(body)


def test_leases_that_have_ended_make_room_for_the_next_claim(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        assert [await ask(session, Claim("seat"), f"c{n}") for n in range(2)] == ["1", "2"]
        async with superuser(running) as connection:
            await connection.execute(
                "UPDATE allocations SET expires_at = now() - interval '1 s' WHERE tenant_id = $1",
                tenant.id,
            )
        assert await ask(session, Claim("seat"), "c2") == "3"
        assert await value(running, TAKEN, tenant) == await value(running, HELD, tenant) == 1

    stack.do(body)


def test_the_database_itself_refuses_one_unit_more_than_there_is(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        async with app(running, tenant.id) as connection:
            with pytest.raises(asyncpg.CheckViolationError):
                await connection.execute("UPDATE resources SET taken = capacity + 1")

    stack.do(body)


def test_a_thread_is_made_once_and_tells_its_own_messages_only(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()

        async def say(action: dict[str, object], name: str, thread: str) -> object:
            metadata = {"tenant_id": tenant.id, "message_id": name, "action": action}
            reply = await told(running, tenant, action, metadata=metadata, thread_id=thread)
            return reply.get("value", reply.get("code"))

        assert await say({"kind": "say"}, "1", "side") == "unknown_thread"
        assert await say({"kind": "thread"}, "2", "side") == "side"
        assert await say({"kind": "thread"}, "3", "side") == "side"
        assert await say({"kind": "say"}, "4", "side") is None
        assert await say({"kind": "say"}, "5", "main") is None
        assert await say({"kind": "history"}, "6", "side") == '[["4","hello"]]'

    stack.do(body)


def test_every_table_with_tenants_has_forced_row_security_and_keys_that_lead_with_the_tenant(
    stack: Held,
) -> None:
    async def body(running: Running) -> None:
        async with superuser(running) as connection:
            tables = await connection.fetch(TABLES)
        assert {row["name"] for row in tables} >= {"messages", "outbox", "allocations"}
        for row in tables:
            assert row["forced"], row["name"]
            assert set(row["first_of_keys"]) == {"tenant_id"}, row["name"]

    stack.do(body)


TABLES = """
SELECT relname AS name, relrowsecurity AND relforcerowsecurity AS forced,
  ARRAY(SELECT attname FROM pg_constraint
        JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
        WHERE conrelid = pg_class.oid AND contype IN ('p', 'f')) AS first_of_keys
FROM pg_class JOIN pg_attribute AS own ON own.attrelid = pg_class.oid AND own.attname = 'tenant_id'
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
