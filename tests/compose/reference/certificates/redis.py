"""Certificates of the defects in Redis, caches, the model's answers and memory."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

from lab.actions import List, Read, Write
from lab.system import Session, Tenant, TenantPlan
from tests.compose.reference.certificates import certificate
from tests.compose.reference.levers import (
    PASSWORD,
    call,
    counters,
    model_calls,
    model_does,
    redis,
    refused,
    slow_link,
    state,
    state_key,
)  # fmt: skip
from tests.compose.reference.stacks import Running, ask, eventually, raw_socket

BACK_SECONDS = 4.0
MEMORY_KEYS = 64
SLOW_MS = 400
WRONG = ("refused", "unknown")


async def pair(running: Running) -> tuple[tuple[Tenant, Session], tuple[Tenant, Session]]:
    """Two new tenants, each with a session."""
    first, second = await running.tenants(2)
    return (first, await running.connect(first)), (second, await running.connect(second))


@certificate("response_cache")
async def cache_without_the_tenant(running: Running) -> str:
    """Two tenants use the same key, and the second reads it."""
    (first, one), (second, two) = await pair(running)
    secret, key = f"secret-of-{first.id}", f"key-of-{first.id}"
    assert await ask(one, Write(key, secret), "w") == "None"
    assert await ask(one, Read(key), "r") == secret
    seen = await ask(two, Read(key), "r")
    assert seen in ("None", secret), seen
    return f"{second.id} read {seen}" if secret in seen else ""


@certificate("redis_no_reconnect")
async def a_dead_connection_stays(running: Running) -> str:
    """Redis is cut off and comes back; answers have to."""
    _, session = await running.session()
    assert not (await ask(session, Read("k"), "before")).startswith(WRONG)
    await running.stack.links.enable("redis", False)
    cut = await ask(session, Read("k"), "cut")
    await running.stack.links.enable("redis", True)
    assert cut.startswith(WRONG), cut
    until, told = time.monotonic() + BACK_SECONDS, cut
    while told.startswith(WRONG):
        if time.monotonic() > until:
            return f"{BACK_SECONDS:g} s after Redis was back: {told}"
        await asyncio.sleep(0.1)
        told = await ask(session, Read("k"), f"after-{until - time.monotonic():.3f}")
    return ""


@certificate("state_key_without_tenant")
async def users_of_one_name_share_their_state(running: Running) -> str:
    """The users of two tenants have the same name; the second reads what the first remembers."""
    (first, one), (second, two) = await pair(running)
    key, secret = f"key-of-{first.id}", f"secret-of-{first.id}"
    assert await ask(one, Write(key, secret), "w") == "None"
    seen = await ask(two, Read(key), "r")
    async with redis(running) as connection:  # it is nobody's, so that nobody retires it
        await connection.delete("agent_state:user")
    assert seen in ("None", secret), seen
    return f"{second.id} read {seen}" if secret in seen else ""


@certificate("state_key_without_delimiter")
async def tenant_and_user_run_together(running: Running) -> str:
    """Tenant `x1` with user `2user`, and tenant `x12` with user `user`: one reads the other's."""
    (one,) = await running.tenants()
    names = ((f"{one.id}-1", "2u"), (f"{one.id}-12", "u"))
    secret = {"password": PASSWORD}
    made = [
        {"tenant_id": tenant, "user_id": user, "email": f"{tenant}@tenants.test", **secret}
        for tenant, user in names
    ]
    await call(running, "admin", "POST", "/tenants", made)
    heard: list[str] = []
    for (tenant, user), action in zip(
        names, ({"kind": "write", "key": "k", "value": "secret"}, {"kind": "read", "key": "k"}),
        strict=True,
    ):  # fmt: skip
        login = {"email": f"{tenant}@tenants.test", "password": PASSWORD}
        token = (await call(running, "login", "POST", "/login", login))["token"]
        async with raw_socket(running, token) as socket:
            await socket.send(_message(tenant, user, action))
            heard.append(str(await socket.recv()))
    assert all("agent_message" in each for each in heard), heard
    return f"{names[1][0]} read the other's value" if "secret" in heard[1] else ""


@certificate("owner_tag_unchecked")
async def a_foreign_value_is_believed(running: Running) -> str:
    """Another tenant's state lies under a tenant's key, as a mix-up of replies would have it."""
    (first, one), (second, two) = await pair(running)
    assert await ask(one, Write("k", "secret"), "w") == "None"
    async with redis(running) as connection:
        await connection.set(state_key(second), await connection.get(state_key(first)), ex=60)
        seen = await ask(two, Read("k"), "r")
        await connection.delete(state_key(second))
    assert seen in ("refused foreign_state", "secret"), seen
    return f"{second.id} read {seen}" if "secret" in seen else ""


@certificate("state_without_ttl")
async def state_lives_for_ever(running: Running) -> str:
    """What is left of a key's life, after a write."""
    tenant, session = await running.session()
    assert await ask(session, Write("k", "v"), "w") == "None"
    async with redis(running, "observer") as connection:
        left = await connection.ttl(state_key(tenant))
    assert left != -2, "there is no state"
    return "the state has no end to its life" if left == -1 else ""


@certificate("state_set_blindly")
async def the_last_writer_wins(running: Running) -> str:
    """A write waits for the model while another is finished; both have to be remembered."""
    tenant, session = await running.session()
    assert await ask(session, Write("first", "1"), "w0") == "None"
    slow = asyncio.create_task(_held_by_the_model(running, tenant, session, Write("slow", "2")))
    await _asked(running, tenant, 2)
    assert await ask(session, Write("quick", "3"), "w2") == "None"
    assert await slow == "None"
    known = (await state(running, tenant))["memory"]
    lost = {"quick", "slow"} - set(known)
    return f"the state does not know {', '.join(lost)}" if lost else ""


@certificate("epoch_ignored")
async def a_state_of_another_life_is_overwritten(running: Running) -> str:
    """While a message waits, its state is replaced by a later life's of the same version."""
    tenant, session = await running.session()
    assert await ask(session, Write("first", "1"), "w0") == "None"
    slow = asyncio.create_task(_held_by_the_model(running, tenant, session, Write("slow", "2")))
    await _asked(running, tenant, 2)
    async with redis(running) as connection:
        epoch, rest = (await connection.get(state_key(tenant))).split(b" ", 1)
        later = b"%d %s" % (int(epoch) + 7, rest.replace(b"first", b"later"))
        await connection.set(state_key(tenant), later, ex=60)
    assert await slow == "None"
    now = await state(running, tenant)
    return "" if "later" in now["memory"] else f"epoch {int(epoch) + 7} became {now['epoch']}"


@certificate("state_not_rebuilt")
async def lost_state_stays_lost(running: Running) -> str:
    """The state is lost, and the tenant writes on; the state has to know the older row."""
    tenant, session = await running.session()
    assert await ask(session, Write("old", "1"), "w1") == "None"
    async with redis(running) as connection:
        await connection.delete(state_key(tenant))
    assert await ask(session, Write("new", "2"), "w2") == "None"
    known = (await state(running, tenant))["memory"]
    return "" if "old" in known else f"the state knows {', '.join(known)} only"


@certificate("memory_unbounded")
async def memory_grows_for_ever(running: Running) -> str:
    """A state that is full, and one more key."""
    tenant, session = await running.session()
    assert await ask(session, Write("first", "v"), "w1") == "None"
    known = await state(running, tenant)
    full = {f"k{n}": [n, "v"] for n in range(MEMORY_KEYS)}
    document = {"memory": full, "preferences": {}, "history": known["history"]}
    stamp = f"{known['epoch']} {known['version']} {tenant.id}.user"
    async with redis(running) as connection:
        await connection.set(state_key(tenant), f"{stamp} {json.dumps(document)}", ex=60)
    assert await ask(session, Write("last", "v"), "w2") == "None"
    count = len((await state(running, tenant))["memory"])
    return f"the memory holds {count} keys" if count > MEMORY_KEYS else ""


@certificate("cleanup_by_prefix")
async def a_neighbours_state_goes_too(running: Running) -> str:
    """A tenant is retired, whose id is how another one's begins."""
    (short,) = await running.tenants()
    (long,) = await running.driver.provision(TenantPlan({"2": "quiet"}, prefix=short.id, seed=1))
    session = await running.connect(long)
    assert await ask(session, Write("k", "v"), "w") == "None"
    await call(running, "admin", "DELETE", "/tenants", [short.id])
    async with redis(running, "observer") as connection:
        left = await connection.ttl(state_key(long))
    return "" if left > 0 else f"with {short.id} the state of {long.id} was removed"


@certificate("cancelled_reply_left")
async def a_late_reply_is_taken_for_the_next(running: Running) -> str:
    """A tenant hangs up while Redis is slow to answer; the next one's answers have to be right."""
    (first, one), (_, two) = await pair(running)
    for session in (one, two):
        assert not (await ask(session, Read("k"), "before")).startswith(WRONG)
    async with slow_link(running, "redis", SLOW_MS):
        left = asyncio.create_task(ask(one, Read("k"), "left"))
        await _unfinished(running, first, 1)
        one.abort()
        await _unfinished(running, first, 0)
        told = await ask(two, Read("k"), "next")
        with suppress(ConnectionResetError):
            await left
    return f"the next tenant's read: {told}" if told.startswith(WRONG) else ""


@certificate("llm_cache_shared")
async def the_model_is_not_asked_again(running: Running) -> str:
    """Two tenants ask the same thing; the model has to hear both."""
    (first, one), (second, two) = await pair(running)
    await ask(one, Read(f"of-{first.id}"), "r")
    assert await model_calls(running, first) == 1
    assert await ask(two, Read(f"of-{first.id}"), "r") == "None"
    calls = await model_calls(running, second)
    return "" if calls else f"{second.id} got what the model had told {first.id}"


@certificate("llm_error_tells_prompt")
async def an_error_tells_what_somebody_else_asked(running: Running) -> str:
    """The model fails for a tenant, right after another has asked it something."""
    (first, one), (second, two) = await pair(running)
    secret = f"secret-of-{first.id}"
    assert await ask(one, Write("k", secret), "w") == "None"
    async with model_does(running, second, fail=True):
        told = await ask(two, List(), "l")
    assert refused([told], "llm_unavailable"), told
    return f"{second.id} was told: {told}" if secret in told else ""


async def _held_by_the_model(
    running: Running, tenant: Tenant, session: Session, action: Write
) -> str:
    """Perform an action whose answer of the model takes long enough for something else."""
    async with model_does(running, tenant, delay_ms=500):
        slow = asyncio.create_task(ask(session, action, "slow"))
        await _asked(running, tenant, 2)
    return await slow


async def _asked(running: Running, tenant: Tenant, times: int) -> None:
    """Until the model has heard the tenant that often."""

    async def heard() -> bool:
        return await model_calls(running, tenant) >= times

    await eventually(heard)


async def _unfinished(running: Running, tenant: Tenant, count: int) -> None:
    """Until the backend has that many messages of the tenant in hand."""

    async def so_many() -> bool:
        return (await counters(running, tenant))["in_flight"] == count

    await eventually(so_many)


def _message(tenant: str, user: str, action: dict[str, str]) -> str:
    metadata = {"tenant_id": tenant, "message_id": "m", "action": action}
    words = {"type": "user_message", "content": "x", "thread_id": "main", "user_id": user}
    return json.dumps({**words, "metadata": metadata})
