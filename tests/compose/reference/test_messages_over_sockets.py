"""The platform's rules, through real sockets: answers, refusals, bad input, crashes, cuts."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Generator, Sequence
from typing import Any

import aiohttp
import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lab.actions import Edit, List, Read, Spend, Work, Write
from lab.system import Tenant

from .stacks import Held, Running, ask, eventually, held, raw_socket

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module", params=["process", "shared"])
def either(request: pytest.FixtureRequest) -> Generator[Held]:
    with held(request.param) as stack:
        yield stack


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held("process") as running:
        yield running


async def token(running: Running, tenant: Tenant) -> str:
    where = running.stack.site.entrance("login")
    body = {"email": f"{tenant.id}@tenants.test", "password": tenant.secrets["password"]}
    async with aiohttp.ClientSession() as http, http.post(f"http://{where}/login", json=body) as r:
        assert r.status == 200
        return str((await r.json())["token"])


def message(tenant: str, message_id: str, **changes: object) -> dict[str, Any]:
    metadata = {"tenant_id": tenant, "message_id": message_id}
    plain = {"type": "user_message", "content": "hello", "thread_id": "main", "user_id": "user"}
    return {**plain, "metadata": metadata, **changes}


def test_every_action_is_answered_in_both_modes(either: Held) -> None:
    async def body(running: Running) -> None:
        _, session = await running.session()
        assert await ask(session, Write("k", "one"), "1") == "None"
        assert await ask(session, Write("k", "two"), "2") == "None"
        assert await ask(session, Read("k"), "3") == "two"
        assert await ask(session, List(), "4") == '[["k","two"],["k","one"]]'
        for kind in ("cpu", "memory", "files", "shell"):
            assert await ask(session, Work(kind, 2), f"5{kind}") == "None"
        assert await ask(session, Spend(400), "6") == "600"
        assert await ask(session, Spend(601), "7") == "refused insufficient_credits"
        assert await ask(session, Edit("assistant", 1), "8") == "2"
        assert await ask(session, Edit("assistant", 1), "9") == "refused version_conflict"

    either.do(body)


def test_a_message_that_claims_another_tenant_is_refused_and_audited(stack: Held) -> None:
    async def body(running: Running) -> None:
        mine, other = await running.tenants(2)
        async with raw_socket(running, await token(running, mine)) as socket:
            for n, lie in enumerate(
                (message(other.id, "0"), message(mine.id, "1", user_id="somebody"))
            ):
                await socket.send(json.dumps(lie))
                reply = json.loads(await socket.recv())
                assert (reply["message_id"], reply["code"]) == (str(n), "wrong_tenant")
                assert reply["definite"] is True
        rows = (await running.driver.census())["rows"]
        audited = [r for r in rows if r.startswith(f"auth_audit_logs/{mine.id}=")]
        assert audited
        assert int(audited[0].partition("=")[2]) >= 3  # a login and two lies

    stack.do(body)


BAD = (
    "", "{", "null", "[]", "[" * 5000, '{"type":"nonsense"}', '{"type":"user_message"}',
    json.dumps(message("t", "x", content=1)),
    json.dumps(message("t", "x", thread_id="../main")),
    json.dumps(message("t", "x" * 200)),
    json.dumps(message("t", "x", metadata={"tenant_id": "t", "message_id": "x", "action": {}})),
    json.dumps(message("t", "x", metadata={
        "tenant_id": "t", "message_id": "x",
        "action": {"kind": "work", "work": "cpu", "amount_ms": 10**9}})),
)  # fmt: skip


def test_bad_input_gets_a_documented_error_and_never_a_traceback(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        async with raw_socket(running, await token(running, tenant)) as socket:
            for text in BAD:
                await socket.send(text)
                assert json.loads(await socket.recv())["code"] == "bad_message", text
            zero = message(tenant.id, "nul", content="\0")
            await socket.send(json.dumps(zero))
            assert json.loads(await socket.recv())["message_id"] == "nul"
            await socket.send(json.dumps(message(tenant.id, "thread", thread_id="nobodys")))
            assert json.loads(await socket.recv())["code"] == "unknown_thread"
            await socket.send(json.dumps(message(tenant.id, "good")))
            assert json.loads(await socket.recv())["type"] == "agent_message"
            await socket.send(json.dumps(message(tenant.id, "good", content="another")))
            assert json.loads(await socket.recv())["code"] == "duplicate_message"
        assert "Traceback" not in await running.logs()

    stack.do(body)


@pytest.mark.parametrize(("frame", "code"), [(b"binary", 1003), ("x" * 70_000, 1009)])
def test_a_frame_that_cannot_be_a_message_closes_the_socket(
    stack: Held, frame: bytes | str, code: int
) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        async with raw_socket(running, await token(running, tenant)) as socket:
            await socket.send(frame)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            # A socket that is closed while it still sends may be reset before the code is read.
            assert socket.close_code in (code, 1006 if code == 1009 else code)

    stack.do(body)


def test_no_token_a_forged_one_and_a_closed_session_do_not_get_in(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        good = await token(running, tenant)
        head, _, signature = good.rpartition(".")
        unsigned = f"eyJhbGciOiJub25lIiwia2lkIjoicnVuLTEifQ.{good.split('.')[1]}."
        async with raw_socket(running, good):
            pass  # its session closes with it

        async def closed() -> bool:
            sessions = (await running.driver.census())["sessions"]
            return not [s for s in sessions if s.startswith(f"{tenant.id}/")]

        await eventually(closed)
        for bad in ("", "x", f"{head}.{signature[::-1]}", unsigned, good):
            with pytest.raises(InvalidStatus) as refusal:
                await raw_socket(running, bad).__aenter__()
            assert refusal.value.response.status_code == 401

    stack.do(body)


def test_a_killed_agent_fails_what_is_in_flight_at_once_and_comes_back(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        _, neighbour = await running.session()
        assert await ask(session, Write("k", "v"), "before") == "None"
        slow = asyncio.create_task(ask(session, Work("cpu", 3000), "slow"))
        await asyncio.sleep(0.15)  # let it reach the agent
        agent = (await running.stack.containers.agents())[tenant.id]
        await running.stack.containers.kill_process(agent, signal.SIGKILL)
        killed = time.monotonic()
        assert await slow == "refused agent_crashed"
        assert time.monotonic() - killed < 0.5
        assert await ask(session, Read("k"), "after") == "v"
        assert await ask(neighbour, Read("k"), "neighbour") == "None"
        table = await running.stack.containers.process_table("backend")
        assert not [row for row in table if row.state == "Z"]

    stack.do(body)


async def rows_of(running: Running, tenants: Sequence[Tenant]) -> list[str]:
    """What the census shows of these tenants; others of this stack come and go meanwhile."""
    census = await running.driver.census()
    return [name for names in census.values() for name in names for t in tenants if t.id in name]


def test_a_tenant_that_leaves_takes_everything_with_it(stack: Held) -> None:
    async def body(running: Running) -> None:
        before = await running.driver.census()
        tenants = await running.tenants(5)
        sessions = [await running.driver.connect(tenant) for tenant in tenants]
        for n, session in enumerate(sessions):
            await ask(session, Write("k", "v"), f"w{n}")
        for session in sessions[:3]:
            await session.close()
        for session in sessions[3:]:
            session.abort()

        async def left() -> bool:
            agents = (await running.stack.containers.agents()).keys()
            sessions = (await running.driver.census())["sessions"]
            return not agents & {t.id for t in tenants} and sessions == before["sessions"]

        await eventually(left)
        assert await rows_of(running, tenants)
        await running.driver.retire(tenants)
        assert not await rows_of(running, tenants)

    stack.do(body)


def test_row_level_security_shows_a_tenant_its_own_rows_only(stack: Held) -> None:
    async def body(running: Running) -> None:
        mine, other = await running.tenants(2)
        for tenant in (mine, other):
            await ask(await running.connect(tenant), Write("k", tenant.id), "w")
        where = running.stack.site.observers["postgres"]
        app = await asyncpg.connect(
            host=where.host, port=where.port, user="app", database="platform",
            password=running.stack.site.variables["APP_PASSWORD"], ssl=False,
        )  # fmt: skip
        try:
            every = "SELECT DISTINCT tenant_id FROM messages"
            assert await app.fetch(every) == []
            async with app.transaction():
                await app.execute("SELECT set_config('app.tenant', $1, true)", mine.id)
                assert [row[0] for row in await app.fetch(every)] == [mine.id]
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await app.execute(
                        "INSERT INTO messages (tenant_id, id, thread_id, user_id, content) "
                        "VALUES ($1, 'x', 'main', 'user', 'x')",
                        other.id,
                    )
            assert await app.fetch(every) == []  # the setting reads as '' now
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.fetch("SELECT * FROM auth_users")
        finally:
            await app.close()

    stack.do(body)
