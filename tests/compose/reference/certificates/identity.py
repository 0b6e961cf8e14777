"""Certificates of the defects in tokens, logins and sessions."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable

import aiohttp
from anyio import to_thread

from tests.compose.reference.certificates import Probe, certificate
from tests.compose.reference.doors import (
    Claims,
    at_the_door,
    call,
    claims_of,
    deactivate,
    email,
    expiring,
    key_of,
    let_in,
    logged_in,
    logged_out,
    said,
    signed,
)
from tests.compose.reference.stacks import Running

Forge = Callable[[Claims, bytes], str]
DEFAULT_KEY = b"change-me-in-production-please-please"
FILE, FILE_HOLDS = "/proc/sys/kernel/ostype", b"Linux\n"
LOGINS, TELLING = 40, 0.75
"""A password that is not hashed saves more than this of a refusal's CPU time, on the mean of 40."""
OWN_KEY = secrets.token_bytes(32)
OWN_JWK = {"kty": "oct", "k": base64.urlsafe_b64encode(OWN_KEY).rstrip(b"=").decode()}


def unsigned(claims: Claims, key: bytes) -> str:
    """The token with algorithm none and no signature."""
    return signed(claims, key, alg="none").rpartition(".")[0] + "."


FORGERIES: dict[str, Forge] = {
    "algorithm_none": unsigned,
    "signature_unchecked": lambda claims, _: signed(claims, OWN_KEY),
    "exp_not_required": lambda claims, key: signed(claims | {"exp": None}, key),
    "leeway_of_an_hour": lambda claims, key: signed(expiring(claims, -60), key),
    "audience_unchecked": lambda claims, key: signed(claims | {"aud": "crosstalk-auth"}, key),
    "issuer_unchecked": lambda claims, key: signed(claims | {"iss": "somebody"}, key),
    "default_key": lambda claims, _: signed(claims, DEFAULT_KEY),
    "key_id_is_a_path": lambda claims, _: signed(claims, FILE_HOLDS, kid=FILE),
    "key_from_the_token": lambda claims, _: signed(claims, OWN_KEY, jwk=OWN_JWK),
    "any_key_id": lambda claims, key: signed(claims, key, kid="../run-1"),
}
"""Tokens that no sound verifier takes, each of an open session, by the defect that takes it."""


def _forgery(forge: Forge) -> Probe:
    async def a_forged_token_gets_in(running: Running) -> str:
        """A token of an open session, changed in one way, is shown at the door."""
        (tenant,) = await running.tenants()
        token = forge(claims_of(await logged_in(running, tenant)), key_of(running))
        inside = await let_in(running, token)
        return f"{tenant.id} got in with a forged token" if inside else ""

    return a_forged_token_gets_in


for _defect, _forge in FORGERIES.items():
    certificate(_defect)(_forgery(_forge))


@certificate("no_leeway")
async def a_clock_ahead_locks_out(running: Running) -> str:
    """The issuer's clock is five seconds ahead of the backend's."""
    (tenant,) = await running.tenants()
    claims = claims_of(await logged_in(running, tenant))
    ahead = claims | {"iat": int(time.time()) + 5}
    inside = await let_in(running, signed(ahead, key_of(running)))
    return "" if inside else "a token from five seconds ahead was refused"


@certificate("session_unchecked")
async def a_closed_session_opens_a_socket(running: Running) -> str:
    """Log out, then connect with the same token."""
    (tenant,) = await running.tenants()
    token = await logged_out(running, tenant)
    inside = await let_in(running, token)
    return "a logged-out token opened a socket" if inside else ""


@certificate("logout_forgotten")
async def a_logout_closes_nothing(running: Running) -> str:
    """Log out, then look at the session's row."""
    (tenant,) = await running.tenants()
    await logged_out(running, tenant)
    census = await running.driver.census()
    left = [each for each in census["sessions"] if each.startswith(f"{tenant.id}/")]
    return f"open after logout: {left[0]}" if left else ""


@certificate("renewal_revives")
async def a_closed_session_is_renewed(running: Running) -> str:
    """Log out, then renew."""
    (tenant,) = await running.tenants()
    token = await logged_out(running, tenant)
    status, _ = await call(running, "login", "/sessions/renew", token=token)
    assert status in (200, 401), status
    return "a closed session was renewed" if status == 200 else ""


@certificate("renewal_of_another")
async def a_socket_takes_anothers_token(running: Running) -> str:
    """One tenant renews its socket with the other tenant's token."""
    mine, other = await running.tenants(2)
    token = await logged_in(running, other)
    async with at_the_door(running, await logged_in(running, mine)) as socket:
        reply = await said(socket, json.dumps({"type": "renew", "token": token}))
    renewed = reply["type"] == "renewed"
    assert renewed or reply["code"] == "bad_token", reply
    return f"{mine.id} goes on as {other.id}" if renewed else ""


@certificate("inactive_user_logs_in")
async def a_deactivated_user_logs_in(running: Running) -> str:
    """Deactivate, then log in."""
    (tenant,) = await running.tenants()
    await deactivate(running, tenant)
    body = {"email": email(tenant), "password": tenant.secrets["password"]}
    status, _ = await call(running, "login", "/login", body=body)
    assert status in (200, 401), status
    return f"{tenant.id} is inactive and logged in" if status == 200 else ""


@certificate("login_wording_tells")
async def refusals_of_logins_differ(running: Running) -> str:
    """A wrong password for a user, and one for nobody."""
    (tenant,) = await running.tenants()
    one, two = [
        await call(running, "login", "/login", body={"email": who, "password": "wrong"})
        for who in (email(tenant), "nobody@tenants.test")
    ]
    assert one[0] == two[0] == 401, (one, two)
    return f"a user is told {one}, nobody {two}" if one != two else ""


@certificate("login_time_tells")
async def refusals_of_logins_cost_the_same(running: Running) -> str:
    """Wrong passwords for a user and for nobody: what the auth service's CPU spends on each.

    Its time by the clock is what an attacker sees; its CPU time is the same thing without the rest
    of a busy machine in it.
    """
    (tenant,) = await running.tenants()
    user, nobody = [await _cpu_ms(running, who) for who in (email(tenant), "nobody@tenants.test")]
    told = f"a refusal costs {user:.2f} ms of CPU for a user, {nobody:.2f} ms for nobody"
    return told if nobody < TELLING * user else ""


async def _cpu_ms(running: Running, who: str) -> float:
    """The CPU time of the auth service for one refused login, in milliseconds; a mean."""
    before = await _auth_cpu_ms(running)
    for _ in range(LOGINS):
        body = {"email": who, "password": "wrong"}
        status, text = await call(running, "login", "/login", body=body)
        assert status == 401, text
    return (await _auth_cpu_ms(running) - before) / LOGINS


async def _auth_cpu_ms(running: Running) -> float:
    """What all threads of the auth service have run: the first number of proc(5) schedstat."""
    start = running.stack.start
    look = ("sh", "-c", "cat /proc/[0-9]*/task/[0-9]*/schedstat")
    _, output = await to_thread.run_sync(start.engine.execute, start.ids["auth"], look)
    return sum(int(line.split()[0]) for line in output.splitlines()) / 1e6


@certificate("error_tells_internals")
async def a_bad_request_is_told_the_code(running: Running) -> str:
    """A login that is no JSON."""
    status, text = await call(running, "login", "/login", body=b"{")
    assert status == 400, text
    return text[:80] if "Traceback" in text or "File " in text else ""


@certificate("identity_by_connection")
async def two_identities_on_one_connection(running: Running) -> str:
    """Two tokens are checked over one TCP connection, as behind any proxy."""
    tenants = await running.tenants(2)
    where = running.stack.site.entrance("login")
    told: list[str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        for tenant in tenants:
            headers = {"Authorization": f"Bearer {await logged_in(running, tenant)}"}
            async with http.post(f"http://{where}/sessions/check", headers=headers) as response:
                told.append((await response.json())["tenant_id"])
    return f"{tenants[1].id} was taken for {told[1]}" if told[1] != tenants[1].id else ""


@certificate("ticket_reusable")
async def one_ticket_two_sockets(running: Running) -> str:
    """A ticket opens a socket, and while that is open it is shown again."""
    (tenant,) = await running.tenants()
    query = f"?ticket={await _ticket(running, await logged_in(running, tenant))}"
    async with at_the_door(running, query=query):
        inside = await let_in(running, query=query)
    return "a ticket opened two sockets" if inside else ""


@certificate("ticket_guessable")
async def tickets_in_a_row(running: Running) -> str:
    """Two tickets, one after the other."""
    (tenant,) = await running.tenants()
    token = await logged_in(running, tenant)
    one, two = [int(await _ticket(running, token), 16) for _ in range(2)]
    return f"{one:x} is followed by {two:x}" if abs(two - one) < 1000 else ""


@certificate("token_in_address")
async def a_token_in_the_address(running: Running) -> str:
    """The token as `?token=`, which this stack does not allow."""
    (tenant,) = await running.tenants()
    inside = await let_in(running, query=f"?token={await logged_in(running, tenant)}")
    return "a token in the address got in" if inside else ""


async def _ticket(running: Running, token: str) -> str:
    status, text = await call(running, "login", "/tickets", token=token)
    assert status == 200, text
    return str(json.loads(text)["ticket"])
