"""Messages in the platform's own words, for what the lab's actions do not say."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from lab.system import Tenant
from tests.compose.reference.stacks import Running, raw_socket


async def token(running: Running, tenant: Tenant) -> str:
    """A fresh token of this tenant."""
    where = running.stack.site.entrance("login")
    body = {"email": f"{tenant.id}@tenants.test", "password": tenant.secrets["password"]}
    async with aiohttp.ClientSession() as http, http.post(f"http://{where}/login", json=body) as r:
        assert r.status == 200
        return str((await r.json())["token"])


async def told(
    running: Running, tenant: Tenant, action: dict[str, object], **changes: object
) -> dict[str, Any]:
    """The reply to one message on a socket of its own."""
    metadata = {"tenant_id": tenant.id, "message_id": "told", "action": action}
    plain = {"type": "user_message", "content": "hello", "thread_id": "main", "user_id": "user"}
    message = {**plain, "metadata": metadata, **changes}
    async with raw_socket(running, await token(running, tenant)) as socket:
        await socket.send(json.dumps(message))
        return dict(json.loads(await socket.recv()))
