"""Agent state in a real Redis: whose it is, what is in it, and how it comes back when lost."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest
from redis.exceptions import ResponseError

from lab.actions import Read, Write
from lab.hands import Toxic

from .levers import call, redis, set_quotas, slow_link, state, state_key
from .stacks import Held, Running, ask, eventually, held

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


def test_the_backends_own_user_can_do_nothing_in_redis_but_what_it_needs(stack: Held) -> None:
    async def body(running: Running) -> None:
        async with redis(running) as connection:
            for words in (
                ("KEYS", "*"), ("SCAN", "0"), ("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "*"),
                ("RANDOMKEY",), ("SELECT", "1"), ("ACL", "LIST"), ("SCRIPT", "FLUSH"),
                ("GET", "another:key"), ("SET", "agent_stat", "x"), ("SUBSCRIBE", "x"),
                ("EVAL", "return redis.call('KEYS', '*')", "0"),
            ):  # fmt: skip
                with pytest.raises(ResponseError, match=r"permission|can't run"):
                    await connection.execute_command(*words)

    stack.do(body)


def test_the_state_has_memory_preferences_and_what_was_said_last(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        assert await ask(session, Write("city", "Bern"), "1") == "None"
        assert await ask(session, Write("preference/tone", "short"), "2") == "None"
        known = await state(running, tenant)
        assert [value for _, value in known["memory"].values()] == ["Bern"]
        assert list(known["preferences"]) == ["preference/tone"]
        assert [said for _, said in known["history"]] == ["Bern", "short"]
        assert (known["epoch"], known["version"]) == (1, 3)  # made, and written twice

    stack.do(body)


def test_many_writers_of_one_state_lose_nothing(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        sessions = [await running.connect(tenant) for _ in range(3)]
        writes = [
            ask(session, Write(f"k{n}-{m}", "v"), f"{n}-{m}", 5.0)
            for n, session in enumerate(sessions)
            for m in range(2)
        ]
        assert set(await asyncio.gather(*writes)) == {"None"}
        known = await state(running, tenant)
        assert sorted(known["memory"]) == [f"k{n}-{m}" for n in range(3) for m in range(2)]

    stack.do(body)


def test_a_retired_tenants_state_is_gone_and_does_not_come_back(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        assert await ask(session, Write("k", "v"), "1") == "None"
        await call(running, "admin", "DELETE", "/tenants", [tenant.id])
        told = await ask(session, Read("k"), "2")  # its socket is still open
        assert told == "refused unknown_tenant"
        async with redis(running, "observer") as connection:
            assert await connection.get(state_key(tenant)) is None

    stack.do(body)


def test_a_tenant_whose_keys_could_not_be_removed_can_be_retired_again(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        assert await ask(session, Write("k", "v"), "1") == "None"
        await running.stack.links.enable("redis", False)
        try:
            with pytest.raises(AssertionError, match="503"):
                await call(running, "admin", "DELETE", "/tenants", [tenant.id])
        finally:
            await running.stack.links.enable("redis", True)

        async def retired() -> bool:
            try:
                await call(running, "admin", "DELETE", "/tenants", [tenant.id])
            except AssertionError:
                return False
            return True

        await eventually(retired)
        async with redis(running, "observer") as connection:
            assert await connection.get(state_key(tenant)) is None

    stack.do(body)


def test_what_redis_refuses_is_answered_and_what_postgres_has_is_acknowledged(stack: Held) -> None:
    async def body(running: Running) -> None:
        _, known = await running.session()
        assert await ask(known, Write("k", "v"), "1") == "None"
        _, new = await running.session()
        async with redis(running, "lab") as connection:
            await connection.config_set("min-replicas-to-write", 1)
            try:
                assert await ask(known, Write("k", "w"), "2") == "None"
                assert await ask(new, Read("k"), "3") == "refused redis_unavailable"
            finally:
                await connection.config_set("min-replicas-to-write", 0)

    stack.do(body)


def test_attempts_to_reach_a_slow_redis_leave_no_connection_behind(stack: Held) -> None:
    async def body(running: Running) -> None:
        _, session = await running.session()
        async with redis(running, "lab") as connection:

            async def few() -> bool:
                clients = await connection.client_list()
                return sum(client["user"] in ("app", "default") for client in clients) <= 1

            async with slow_link(running, "redis", 5000):
                for n in range(4):
                    told = await ask(session, Read("k"), f"{n}")
                    assert told == "refused redis_unavailable"
                await eventually(few)

    stack.do(body)


def test_a_read_is_tried_once_more_when_the_connection_broke_and_the_budget_allows(
    stack: Held,
) -> None:
    async def retries(running: Running) -> int:
        told = await call(running, "admin", "GET", "/counters", None)
        return int(told["retries"]["redis"]["retries"])

    async def body(running: Running) -> None:
        tenant, session = await running.session()
        await set_quotas(running, tenant, burst=200, requests_per_second=200)
        for n in range(12):  # what is paid in for each of them is a tenth of a retry
            assert await ask(session, Read("k"), f"before{n}") == "None"
        before = await retries(running)
        reset = Toxic("reset", "reset_peer", "downstream", {"timeout": 0})
        await running.stack.links.add("redis", reset)
        told = asyncio.create_task(ask(session, Read("k"), "broken"))

        async def tried_again() -> bool:
            return await retries(running) > before

        await eventually(tried_again)
        await running.stack.links.remove("redis", "reset")
        assert await told in ("None", "refused redis_unavailable")
        assert await retries(running) == before + 1

    stack.do(body)


def test_state_is_rebuilt_from_postgres_after_redis_has_lost_everything(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        for n in range(12):
            assert await ask(session, Write(f"k{n}", f"v{n}"), f"w{n}") == "None"
        before = await state(running, tenant)
        await running.stack.containers.stop("redis")  # which keeps nothing on its disk
        await running.stack.containers.start("redis")

        async def answered() -> bool:
            return await ask(session, Read("k3"), f"r{asyncio.get_running_loop().time()}") == "v3"

        await eventually(answered, 10.0)
        after = await state(running, tenant)
        assert after["epoch"] > before["epoch"]
        for part in ("memory", "preferences", "history"):
            assert after[part] == before[part]

    stack.do(body)
