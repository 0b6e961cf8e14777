"""Certificates of the defects at the edge: sockets, messages and logs."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import asyncpg
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from lab.actions import Read, Write
from tests.compose.reference.certificates import certificate
from tests.compose.reference.database import locked, waiting
from tests.compose.reference.doors import (
    SWITCHED,
    Claims,
    at_the_door,
    call,
    claims_of,
    deactivate,
    expiring,
    key_of,
    knocked,
    let_in,
    logged_in,
    message,
    said,
    signed,
)
from tests.compose.reference.stacks import Running, ask

ENDED_SECONDS, LEEWAY_SECONDS = 4.0, 10
AUDITED = """
SELECT count(*) FROM auth_audit_logs WHERE tenant_id = $1 AND event = 'wrong_tenant'
"""


@certificate("tenant_from_message")
async def a_message_for_another_tenant(running: Running) -> str:
    """A message whose metadata names the other tenant."""
    mine, other = await running.tenants(2)
    async with (
        at_the_door(running, await logged_in(running, other)),
        at_the_door(running, await logged_in(running, mine)) as socket,
    ):
        reply = await said(socket, message(other, "lie"))
    return f"{mine.id} was answered as {other.id}" if _believed(reply) else ""


@certificate("tenant_from_header")
async def a_header_for_another_tenant(running: Running) -> str:
    """A header that names the other tenant, which a proxy in front might set."""
    mine, other = await running.tenants(2)
    headers = {"X-Tenant-Id": other.id}
    async with (
        at_the_door(running, await logged_in(running, other)),
        at_the_door(running, await logged_in(running, mine), headers=headers) as socket,
    ):
        reply = await said(socket, message(mine, "header"))
    done_for = reply["metadata"]["tenant_id"]
    return f"the work of {mine.id} was done for {done_for}" if done_for != mine.id else ""


@certificate("user_unchecked")
async def a_message_of_another_user(running: Running) -> str:
    """A message that names another user of the tenant."""
    (tenant,) = await running.tenants()
    lie = message(tenant, "lie").replace('"user_id": "user"', '"user_id": "somebody"')
    async with at_the_door(running, await logged_in(running, tenant)) as socket:
        reply = await said(socket, lie)
    return "answered as somebody" if _believed(reply) else ""


@certificate("one_principal_for_all")
async def the_last_to_connect_is_everybody(running: Running) -> str:
    """Two tenants connect; what the first writes, the second reads."""
    first, second = await running.tenants(2)
    one, two = await running.connect(first), await running.connect(second)
    secret = f"secret-of-{first.id}"
    assert await ask(one, Write("k", secret), "w") == "None"
    seen = await ask(two, Read("k"), "r")
    assert secret in seen or seen == "None", seen
    return f"{second.id} read {seen}" if secret in seen else ""


@certificate("socket_outlives_revocation")
async def a_socket_after_deactivation(running: Running) -> str:
    """The user of an open socket is deactivated."""
    (tenant,) = await running.tenants()
    async with at_the_door(running, await logged_in(running, tenant)) as socket:
        await deactivate(running, tenant)
        return await _still_open(socket, ENDED_SECONDS)


@certificate("socket_outlives_token")
async def a_socket_after_its_token(running: Running) -> str:
    """A token that is some seconds late is good for a few more, leeway included."""
    (tenant,) = await running.tenants()
    told = claims_of(await logged_in(running, tenant))
    for late in (8, 6, 3, 0):  # a slow machine needs more time to get in
        token = signed(expiring(told, -late), key_of(running))
        with suppress(InvalidStatus):
            async with at_the_door(running, token) as socket:
                return await _still_open(socket, LEEWAY_SECONDS - late + ENDED_SECONDS)
    raise AssertionError("no token was let in")


@certificate("origin_unchecked")
async def a_browser_from_anywhere(running: Running) -> str:
    """An upgrade with the origin of a page that is not ours."""
    (tenant,) = await running.tenants()
    token = await logged_in(running, tenant)
    origin = {"Origin": "https://evil.test"}
    inside = await let_in(running, token, headers=origin, refusal=403)
    return "https://evil.test got in" if inside else ""


@certificate("token_in_logs")
async def the_log_holds_a_token(running: Running) -> str:
    """Connect, then look for the token in the log."""
    (tenant,) = await running.tenants()
    token = await logged_in(running, tenant)
    assert await knocked(running, token) == SWITCHED
    return "the backend's log holds a token" if token in await running.logs() else ""


@certificate("broadcast_by_thread")
async def an_answer_for_a_namesake(running: Running) -> str:
    """Two tenants have a thread of the same name; one of them speaks."""
    mine, other = await running.tenants(2)
    async with (
        at_the_door(running, await logged_in(running, mine)) as speaker,
        at_the_door(running, await logged_in(running, other)) as listener,
    ):
        await said(listener, message(other, "here"))
        await said(speaker, message(mine, "secret"))
        heard = await said(listener, message(other, "again"))
    return f"{other.id} heard {heard['message_id']}" if heard["message_id"] != "again" else ""


@certificate("answers_by_message_id")
async def one_message_id_two_tenants(running: Running) -> str:
    """Two tenants use one message_id at a time; the first one's waits for the second's."""
    mine, other = await running.tenants(2)
    spend = {"kind": "spend", "amount": 1}
    async with (
        at_the_door(running, await logged_in(running, mine)) as slow,
        at_the_door(running, await logged_in(running, other)) as fast,
    ):
        async with locked(running, "credits", mine):
            await slow.send(message(mine, "same", action=spend))
            await waiting(running, 1)
            assert (await said(fast, message(other, "same")))["message_id"] == "same"
        async with asyncio.TaskGroup() as both:
            right, wrong = both.create_task(slow.recv()), both.create_task(fast.recv())
            done, rest = await asyncio.wait([right, wrong], return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
    assert all(json.loads(task.result())["message_id"] == "same" for task in done)
    return f"{other.id} got the answer for {mine.id}" if wrong in done else ""


@certificate("metrics_name_tenants")
async def metrics_for_everybody(running: Running) -> str:
    """A tenant speaks; anybody reads /metrics."""
    (tenant,) = await running.tenants()
    async with at_the_door(running, await logged_in(running, tenant)) as socket:
        assert (await said(socket, message(tenant, "hello")))["type"] == "agent_message"
    status, text = await call(running, "client", "/metrics", method="GET")
    assert status == 200, text
    return f"/metrics names {tenant.id}" if tenant.id in text else ""


@certificate("log_names_another")
async def a_log_line_for_another(running: Running) -> str:
    """The first of two tenants does what is logged."""
    mine, other = await running.tenants(2)
    async with (
        at_the_door(running, await logged_in(running, mine)) as socket,
        at_the_door(running, await logged_in(running, other)),
    ):
        await said(socket, message(other, "lie"))
    lines = [json.loads(line) for line in (await running.logs()).splitlines() if "{" in line]
    (found,) = [line for line in lines if line.get("session_of") == mine.id]
    return f"the line names {found['tenant']}" if found["tenant"] != mine.id else ""


@certificate("refusals_not_audited")
async def no_row_for_a_refusal(running: Running) -> str:
    """A lie about the tenant; then the audit log is read."""
    mine, other = await running.tenants(2)
    async with at_the_door(running, await logged_in(running, mine)) as socket:
        assert (await said(socket, message(other, "lie")))["code"] == "wrong_tenant"
    where = running.stack.site.observers["postgres"]
    observer = await asyncpg.connect(
        host=where.host, port=where.port, user="observer", database="platform", ssl=False,
        password=running.stack.site.variables["OBSERVER_PASSWORD"],
    )  # fmt: skip
    try:
        rows = await observer.fetchval(AUDITED, mine.id)
    finally:
        await observer.close()
    return "" if rows else "no row in auth_audit_logs"


@certificate("admin_unguarded")
async def counters_for_everybody(running: Running) -> str:
    """The admin port without its token."""
    status, _ = await call(running, "admin", "/counters", method="GET")
    assert status in (200, 401, 403), status
    return "/counters answers anybody" if status == 200 else ""


def _believed(lie: Claims) -> bool:
    """Whether a message that lies about its sender was answered. Fails on any other refusal."""
    believed = lie["type"] == "agent_message"
    assert believed or lie["code"] == "wrong_tenant", lie
    return believed


async def _still_open(socket: ClientConnection, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            await socket.wait_closed()
    except TimeoutError:
        return f"the socket is open after {seconds:g} s"
    assert socket.close_code in (4401, 4403), socket.close_code
    return ""
