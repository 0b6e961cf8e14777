"""Ways into the platform without its driver: tokens good and forged, raw calls, raw sockets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from lab.system import Tenant

from .stacks import Running

SWITCHED = 101
"""The status of an upgrade that was let in."""
KEY_ID = "run-1"

Claims = dict[str, Any]


def email(tenant: Tenant) -> str:
    """The address of a tenant's one user."""
    return f"{tenant.id}@tenants.test"


async def call(
    running: Running, entrance: str, path: str, *, method: str = "POST", token: str = "",
    body: object = None, headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:  # fmt: skip
    """One HTTP call: its status and its text. `body` is sent as JSON, or as it is when bytes."""
    sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    where = running.stack.site.entrance(entrance, "quiet")
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"http://{where}{path}", headers=sent, data=data) as response,
    ):
        return response.status, await response.text()


async def logged_in(running: Running, tenant: Tenant) -> str:
    """A fresh token."""
    body = {"email": email(tenant), "password": tenant.secrets["password"]}
    status, text = await call(running, "login", "/login", body=body)
    assert status == 200, text
    return str(json.loads(text)["token"])


async def deactivate(running: Running, tenant: Tenant) -> None:
    """Shut the tenant's user out, as an operator."""
    body = {"tenant_id": tenant.id, "user_id": "user"}
    lab = {"X-Lab-Token": running.stack.site.variables["LAB_TOKEN"]}
    status, text = await call(running, "login", "/users/deactivate", body=body, headers=lab)
    assert status == 200, text


def key_of(running: Running) -> bytes:
    """The key with which auth signs."""
    return bytes.fromhex(running.stack.site.variables["JWT_KEY"])


def claims_of(token: str) -> Claims:
    """What a token says, unverified."""
    return dict(json.loads(_unpacked(token.split(".")[1])))


def signed(claims: Claims, key: bytes, **header: object) -> str:
    """A token with this header (None leaves a field out), signed with HS256 whatever it says."""
    head = {"typ": "JWT", "alg": "HS256", "kid": KEY_ID} | header
    parts = (_without_none(head), _without_none(claims))
    text = ".".join(_packed(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_packed(hmac.digest(key, text.encode(), hashlib.sha256))}"


def expiring(claims: Claims, seconds: int) -> Claims:
    """The claims with an expiry this many seconds from now."""
    now = int(time.time())
    return claims | {"iat": min(claims["iat"], now + seconds - 300), "exp": now + seconds}


@asynccontextmanager
async def at_the_door(
    running: Running, token: str = "", *, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncGenerator[ClientConnection]:
    """A raw socket, let in in any way one likes. Raises InvalidStatus when it is not."""
    where = running.stack.site.entrance("client", "quiet")
    sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    async with connect(
        f"ws://{where}/ws{query}", additional_headers=sent, compression=None, proxy=None,
        ping_interval=None, close_timeout=1,
    ) as socket:  # fmt: skip
        yield socket


async def knocked(
    running: Running, token: str = "", *, query: str = "", headers: Mapping[str, str] | None = None
) -> int:
    """The status of an upgrade."""
    try:
        async with at_the_door(running, token, query=query, headers=headers):
            return SWITCHED
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def let_in(
    running: Running,
    token: str = "",
    *,
    query: str = "",
    headers: Mapping[str, str] | None = None,
    refusal: int = 401,
) -> bool:
    """Whether an upgrade is let in; refused it is with this status and with no other."""
    status = await knocked(running, token, query=query, headers=headers)
    assert status in (SWITCHED, refusal), status
    return status == SWITCHED


async def logged_out(running: Running, tenant: Tenant) -> str:
    """The token of a session that was opened and closed again."""
    token = await logged_in(running, tenant)
    assert (await call(running, "login", "/sessions/close", token=token))[0] == 200
    return token


def message(tenant: Tenant, message_id: str, content: str = "hello", **metadata: object) -> str:
    """A `user_message` of the tenant's own."""
    told = {"tenant_id": tenant.id, "message_id": message_id, **metadata}
    plain = {"type": "user_message", "content": content, "thread_id": "main", "user_id": "user"}
    return json.dumps({**plain, "metadata": told})


async def said(socket: ClientConnection, text: str) -> Claims:
    """Send a message and read the next thing that comes."""
    await socket.send(text)
    return dict(json.loads(await socket.recv()))


def _without_none(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
