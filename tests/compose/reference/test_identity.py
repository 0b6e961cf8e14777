"""Sessions, sockets and their ends, through real ones: how they begin, last and end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Generator

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from lab.actions import Read, Work, Write
from lab.system import Tenant

from .doors import (
    SWITCHED,
    at_the_door,
    call,
    claims_of,
    deactivate,
    email,
    expiring,
    key_of,
    knocked,
    logged_in,
    message,
    said,
    signed,
)
from .stacks import Held, Running, ask, eventually, held

pytestmark = pytest.mark.docker

WITHIN_SECONDS = 1.0
"""How soon a revocation is felt."""


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


def test_a_renewed_socket_outlives_its_first_token(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        first = signed(expiring(claims_of(await logged_in(running, tenant)), -8), key_of(running))
        async with at_the_door(running, first) as socket:
            status, text = await call(running, "login", "/sessions/renew", token=first)
            assert status == 200
            renewal = {"type": "renew", "token": json.loads(text)["token"], "message_id": "r"}
            reply = await said(socket, json.dumps(renewal))
            assert (reply["type"], reply["message_id"]) == ("renewed", "r")
            assert reply["expires"] == json.loads(text)["expires"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.5):
                    await socket.wait_closed()
            assert (await said(socket, message(tenant, "m")))["type"] == "agent_message"

    stack.do(body)


def test_a_socket_closes_with_4401_when_its_token_ends(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        claims = expiring(claims_of(await logged_in(running, tenant)), -8)
        async with at_the_door(running, signed(claims, key_of(running))) as socket:
            left = claims["exp"] + 10 - time.time()
            async with asyncio.timeout(left + WITHIN_SECONDS):
                await socket.wait_closed()
            assert socket.close_code == 4401

    stack.do(body)


@pytest.mark.parametrize("how", ["/sessions/close", "/sessions/close-all", "deactivate"])
def test_a_socket_closes_with_4403_within_a_second_of_its_revocation(stack: Held, how: str) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        token = await logged_in(running, tenant)
        _, bystander = await running.session()
        async with at_the_door(running, token) as socket:
            if how == "deactivate":
                await deactivate(running, tenant)
            else:
                assert (await call(running, "login", how, token=token))[0] == 200
            async with asyncio.timeout(WITHIN_SECONDS):
                await socket.wait_closed()
            assert socket.close_code == 4403
        assert await knocked(running, token) == 401
        assert await ask(bystander, Write("k", "v"), "w") == "None"

    stack.do(body)


def test_a_session_lives_until_its_last_socket_is_gone(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        token = await logged_in(running, tenant)
        async with at_the_door(running, token) as first:
            assert await knocked(running, token) == SWITCHED
            assert (await said(first, message(tenant, "m")))["type"] == "agent_message"

        async def closed() -> bool:
            return (await call(running, "login", "/sessions/check", token=token))[0] == 401

        await eventually(closed)

    stack.do(body)


def test_a_ticket_opens_one_socket_without_a_header(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        token = await logged_in(running, tenant)
        status, text = await call(running, "login", "/tickets", token=token)
        ticket = json.loads(text)["ticket"]
        assert status == 200
        async with at_the_door(running, query=f"?ticket={ticket}") as socket:
            assert (await said(socket, message(tenant, "m")))["type"] == "agent_message"
            assert await knocked(running, query=f"?ticket={ticket}") == 401
        assert ticket not in await running.logs()

    stack.do(body)


def test_only_backends_redeem_tickets_and_ask_about_sessions(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        token = await logged_in(running, tenant)
        bodies = {"/tickets/redeem": b'{"ticket":""}', "/sessions/over": b'{"sessions":[]}'}
        for path, sent in bodies.items():
            for shown in ("", token):
                assert (await call(running, "login", path, token=shown, body=sent))[0] == 401

    stack.do(body)


def test_refused_logins_leave_a_row_for_the_user_and_none_for_nobody(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        for who in (email(tenant), "nobody@tenants.test"):
            wrong = {"email": who, "password": "wrong"}
            assert (await call(running, "login", "/login", body=wrong))[0] == 401

        async def audited() -> bool:
            rows = (await running.driver.census())["rows"]
            return f"auth_audit_logs/{tenant.id}=1" in rows

        await eventually(audited)

    stack.do(body)


def test_deeply_nested_and_unknown_messages_leave_the_socket_alive(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        async with at_the_door(running, await logged_in(running, tenant)) as socket:
            for text in ("[" * 60_000, '{"type":"renew"}', '{"type":"subscribe"}', '"x"'):
                assert (await said(socket, text))["code"] == "bad_message"
            assert (await said(socket, message(tenant, "nul", "\0")))["code"] == "bad_message"
            assert (await said(socket, message(tenant, "m")))["type"] == "agent_message"

    stack.do(body)


def test_without_auth_sockets_go_on_and_new_ones_are_told_so(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        spare = await logged_in(running, tenant)
        _, session = await running.session()
        await running.stack.containers.stop("auth")
        try:
            assert await ask(session, Write("k", "v"), "w") == "None"
            with pytest.raises(aiohttp.ClientError):
                await logged_in(running, tenant)
            with pytest.raises(InvalidStatus) as refusal:
                await at_the_door(running, spare).__aenter__()
            answer = refusal.value.response
            assert answer.status_code == 503
            assert json.loads(answer.body or b"")["error"] == "auth_unavailable"
            assert int(answer.headers["Retry-After"]) >= 1
            status, text = await call(running, "client", "/ready", method="GET")
            assert status == 503
            assert json.loads(text)["auth"] != "ok"
            await eventually(lambda: _blind(running, 1.0))
            assert await ask(session, Read("k"), "r") == "v"
        finally:
            await running.stack.containers.start("auth")
        await eventually(lambda: _let_in(running, tenant), 15.0)
        await eventually(lambda: _blind(running, 0.0))
        assert await ask(session, Read("k"), "r2") == "v"

    stack.do(body)


def test_sigterm_finishes_what_is_in_flight_and_sends_everybody_away(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        other, _ = await running.session()
        spare = await logged_in(running, other)
        async with at_the_door(running, await logged_in(running, tenant)) as idle:
            slow = asyncio.create_task(ask(session, Work("cpu", 400), "slow"))
            await asyncio.sleep(0.05)  # on its way
            ending = asyncio.create_task(running.stack.containers.kill("backend", signal.SIGTERM))
            try:
                await eventually(lambda: _told_draining(running))
                with pytest.raises(InvalidStatus) as refusal:
                    await at_the_door(running, spare).__aenter__()
                assert refusal.value.response.status_code == 503
                assert refusal.value.response.headers["Retry-After"] == "1"
                assert (await said(idle, message(tenant, "late")))["code"] == "draining"
                assert await slow == "None"
                with pytest.raises(ConnectionClosed):
                    await idle.recv()
                assert idle.close_code == 1012
            finally:
                await ending
                await running.stack.containers.start("backend")
                await eventually(lambda: _let_in(running, tenant), 15.0)

    stack.do(body)


def test_no_log_of_any_service_holds_a_secret_or_a_tenants_words(stack: Held) -> None:
    async def body(running: Running) -> None:
        (tenant,) = await running.tenants()
        token = await logged_in(running, tenant)
        words = f"words-of-{tenant.id}"
        async with at_the_door(running, token) as socket:
            await said(socket, message(tenant, "m", words))
            await said(socket, message(tenant, "m", words))  # a duplicate
            await said(socket, words)
        await knocked(running, query=f"?token={token}")
        await running.logs()
        variables = running.stack.site.variables
        kept = [*variables.values(), token, token.split(".")[1], words, tenant.secrets["password"]]
        secret = [each for each in kept if len(each) >= 12]
        assert len(secret) > 6
        logs = {log.name: log.read_text() for log in running.folder.glob("*.log")}
        assert {"auth.log", "backend.log"} <= logs.keys()
        for name in ("auth.log", "backend.log"):
            assert not [each for each in secret if each in logs[name]], name
            for line in filter(None, logs[name].splitlines()):
                assert json.loads(line)["event"]

    stack.do(body)


async def _blind(running: Running, value: float) -> bool:
    _, text = await call(running, "client", "/metrics", method="GET")
    return f"platform_revocations_blind {value}" in text


async def _told_draining(running: Running) -> bool:
    status, text = await call(running, "client", "/ready", method="GET")
    return status == 503 and "draining" in text


async def _let_in(running: Running, tenant: Tenant) -> bool:
    try:
        return await knocked(running, await logged_in(running, tenant)) == SWITCHED
    except (aiohttp.ClientError, WebSocketException, OSError, AssertionError):
        return False
