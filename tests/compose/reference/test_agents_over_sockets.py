"""Agents in every mode, through real sockets: tools, quotas, crashes, and what a tenant leaves."""

from __future__ import annotations

import json
from asyncio import timeout
from collections.abc import Generator
from signal import SIGKILL

import pytest
from anyio import to_thread

from lab.actions import Edit, List, Read, Spend, Work, Write
from lab.system import Session, Tenant

from .database import superuser
from .doors import at_the_door, logged_in, message
from .doors import said as told
from .levers import ROOMY, set_quotas
from .stacks import Held, Running, ask, eventually, held

pytestmark = pytest.mark.docker

TOOLS = ("cpu", "memory", "files", "shell", "processes")
HELLO = """
import json, socket, sys
line = socket.create_connection(("backend", 8002), 3)
hello = json.dumps({"tenant": sys.argv[1], "secret": sys.argv[2]}).encode()
line.sendall(len(hello).to_bytes(4, "big") + hello)
line.settimeout(1)
try:
    print("ended" if line.recv(1) == b"" else "asked")
except ConnectionResetError:
    print("ended")
except TimeoutError:
    print("waits")
"""
"""Dials as an agent does: `TENANT SECRET`."""
LARGEST = "\N{GRINNING FACE}" * 8000
"""A value of nearly all the characters, and with its message all the bytes, that are allowed."""


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Generator[Held]:
    """A stack in the mode that the test asks for; pytest keeps only one of them up."""
    with held(request.param) as running:
        yield running


def modes(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stack", names, indirect=True, scope="module")


async def inside(running: Running, service: str, *command: str) -> str:
    """What a command says inside a service's container."""
    start = running.stack.start
    _, output = await to_thread.run_sync(start.engine.execute, start.ids[service], command)
    return output.decode().strip()


async def said(session: Session, key: str, op: str) -> str:
    """The words of the answer to a read."""
    reply = await session.perform(Read(key), op=op, deadline_seconds=3)
    return str(json.loads(reply.raw)["content"])


@modes("shared", "process", "container")
def test_every_tool_works_and_none_takes_more_than_the_quota(stack: Held) -> None:
    async def body(running: Running) -> None:
        _, session = await running.session()
        for tool in TOOLS:
            assert await ask(session, Work(tool, 2), tool) == "None"
        for n, (tool, amount) in enumerate((("memory", 600), ("processes", 40))):
            _, greedy = await running.session()
            assert await ask(greedy, Work(tool, amount), f"much-{n}") == "refused tool_failed"
            assert await ask(greedy, Read("k"), f"then-{n}") == "None"

    stack.do(body)


@modes("process", "container")
def test_a_crashed_agent_comes_back_alone_with_its_own_conversation(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant, session), (other, neighbour) = await running.session(), await running.session()
        assert await ask(session, Write("k", "mine"), "w") == "None"
        assert await ask(neighbour, Write("k", "theirs"), "w") == "None"
        before = await running.stack.containers.agents()
        await running.stack.containers.kill_process(before[tenant.id], SIGKILL)

        async def back() -> bool:
            agent = (await running.stack.containers.agents()).get(tenant.id)
            return agent is not None and agent.started != before[tenant.id].started

        await eventually(back)
        assert "(after: remember k: mine)" in await said(session, "k", "r")
        assert "(after: remember k: theirs)" in await said(neighbour, "k", "r")
        assert (await running.stack.containers.agents())[other.id] == before[other.id]

    stack.do(body)


@modes("process", "container")
def test_the_largest_list_a_tenant_can_have_is_answered_and_costs_no_agent(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        await set_quotas(running, tenant, **ROOMY, network_kb_per_second=100_000.0)
        for n in range(20):
            assert await ask(session, Write(f"k{n}", LARGEST), f"w{n}") == "None"
        agent = (await running.stack.containers.agents())[tenant.id]
        listed = json.loads(await ask(session, List(), "list"))
        assert listed == [[f"k{n}", LARGEST] for n in reversed(range(20))]
        assert (await running.stack.containers.agents())[tenant.id] == agent

    stack.do(body)


@modes("process", "container")
def test_work_that_is_given_up_ends_and_holds_up_nobody(stack: Held) -> None:
    async def body(running: Running) -> None:
        _, session = await running.session()
        assert await ask(session, Work("shell", 4000), "late", 0.5) == "refused deadline"
        assert await ask(session, Read("k"), "next", 1.5) == "None"

    stack.do(body)


@modes("process", "container")
def test_a_tenant_that_leaves_takes_its_agent_and_its_files_with_it(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        assert await ask(session, Work("files", 1), "f") == "None"
        home = (await running.stack.containers.agents())[tenant.id].service
        assert tenant.id in await inside(running, home, "ls", "/tmp")
        await session.close()

        async def gone() -> bool:
            there = tenant.id in await running.stack.containers.agents()
            return not there and tenant.id not in await inside(running, home, "ls", "/tmp")

        await eventually(gone)
        assert not [r for r in await running.stack.containers.process_table(home) if r.state == "Z"]
        again = await running.connect(tenant)  # and nothing of it is known to the next agent
        assert "(after" not in await said(again, "k", "r")

    stack.do(body)


@modes("container")
def test_only_the_tenants_own_container_may_speak_for_it(stack: Held) -> None:
    async def body(running: Running) -> None:
        mine, other = await running.tenants(2)
        home, dial = f"agent.{mine.id}", ("python", "-c", HELLO)
        secret = await inside(running, home, "printenv", "AGENT_SECRET")
        assert await inside(running, home, *dial, other.id, secret) == "ended"
        assert await inside(running, home, *dial, mine.id, "0" * 64) == "ended"
        refused = [line for line in (await running.logs()).splitlines() if "agent_refused" in line]
        assert [json.loads(line)["tenant"] for line in refused] == [other.id, mine.id]
        assert await ask(await running.connect(mine), Read("k"), "r") == "None"

    stack.do(body)


@modes("container")
def test_a_tenants_container_reaches_the_backend_only_and_is_gone_with_it(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants(1)
        home = f"agent.{tenant.id}"
        start = running.stack.start
        (redis,) = start.engine.placed(start.ids["redis"]).addresses.values()
        for name, port, refused in ((redis, 6379, True), ("backend", 8002, False)):
            dial = f"import socket; socket.create_connection(('{name}', {port}), 2)"
            output = await inside(running, home, "sh", "-c", f'python -c "{dial}" 2>&1')
            assert ("Error" in output) is refused
        limits = (await running.stack.containers.state(home)).limits
        assert (limits.cores, limits.memory_bytes, limits.pids) == (0.5, 320 * 2**20, 24)
        assert any(home in found.name for found in start.engine.found(start.run))
        await running.driver.retire([tenant])
        assert not any(home in found.name for found in start.engine.found(start.run))

    stack.do(body)


@modes("pooled")
def test_everything_works_through_a_pooler_that_hands_out_servers_by_transaction(
    stack: Held,
) -> None:
    async def body(running: Running) -> None:
        before = await running.driver.census()
        tenants = await running.tenants(3)
        sessions = [await running.connect(tenant) for tenant in tenants]
        for session, tenant in zip(sessions, tenants, strict=True):
            assert await ask(session, Write("k", tenant.id), "1") == "None"
        for session, tenant in zip(sessions, tenants, strict=True):
            assert await ask(session, Read("k"), "2") == tenant.id
            assert await ask(session, List(), "3") == f'[["k","{tenant.id}"]]'
            assert await ask(session, Spend(400), "4") == "600"
            assert await ask(session, Edit("assistant", 1), "5") == "2"
        await running.stack.links.enable("pooler", False)
        assert (await ask(sessions[0], Write("k", "no"), "6")).startswith("refused")
        await running.stack.links.enable("pooler", True)

        async def healed() -> bool:
            return await ask(sessions[0], Read("k"), f"7-{id(object())}") == tenants[0].id

        await eventually(healed, 5.0)
        await running.close()
        await running.driver.retire(tenants)

        async def clean() -> bool:
            return await running.driver.census() == before

        await eventually(clean)

    stack.do(body)


async def homes(running: Running, tenant: str) -> list[str]:
    """The replicas that run an agent of the tenant."""
    tables = {n: await running.stack.containers.process_table(n) for n in ("backend", "backend2")}
    return [n for n, rows in tables.items() if any(tenant in row.args for row in rows)]


@modes("replicas")
def test_a_session_with_sockets_on_both_replicas_outlives_either_of_them(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants(1)
        token, claim = await logged_in(running, tenant), {"kind": "claim", "resource": "seat"}
        async with at_the_door(running, token) as one:
            async with at_the_door(running, token) as two:  # the entrance takes turns
                for n, socket in enumerate((one, two)):
                    reply = await told(socket, message(tenant, f"c{n}", action=claim))
                    assert reply["type"] == "agent_message"
            with pytest.raises(TimeoutError):  # a revocation would be felt within a second
                async with timeout(1.5):
                    await one.wait_closed()
            assert (await told(one, message(tenant, "m")))["type"] == "agent_message"
            assert await held_by(running, tenant) == 1

    stack.do(body)


async def held_by(running: Running, tenant: Tenant) -> int:
    """How many units of a resource the tenant holds."""
    async with superuser(running) as connection:
        query = "SELECT count(*) FROM allocations WHERE tenant_id = $1"
        return int(await connection.fetchval(query, tenant.id))


@modes("replicas")
def test_either_replica_serves_a_tenant_and_one_of_them_owns_its_agent(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants(1)
        one = await running.connect(tenant)
        assert await ask(one, Write("k", "v"), "1") == "None"
        (first,) = await homes(running, tenant.id)
        two = await running.connect(tenant)  # the entrance takes turns
        assert await ask(two, Read("k"), "2") == "v"

        async def moved() -> bool:
            return len(await homes(running, tenant.id)) == 1

        await eventually(moved)
        (second,) = await homes(running, tenant.id)
        assert {first, second} == {"backend", "backend2"}
        await running.stack.containers.kill(second, SIGKILL)
        assert await ask(one, Read("k"), "3") == "v"  # the other one goes on, with the agent
        assert await homes(running, tenant.id) == [first]
        third = await running.connect(tenant)
        assert await ask(third, Read("k"), "4") == "v"
        await running.stack.containers.start(second)

    stack.do(body)
