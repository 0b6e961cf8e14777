"""What tests pull behind the tenants' backs: quotas, the stub model, and the keys in Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from redis.asyncio import Redis

from lab.actions import Action
from lab.hands import Toxic
from lab.system import Session, Tenant

from .stacks import Running, ask

PASSWORD = "a password of a test"
ROOMY = {"requests_per_second": 1000.0, "burst": 1000.0, "in_flight": 1000}
"""Quotas that are not in the way of what is looked at."""


async def call(running: Running, entrance: str, method: str, path: str, body: object) -> Any:
    """One call with the lab's token; its answer. Fails the test when it is refused."""
    headers = {"X-Lab-Token": running.stack.site.variables["LAB_TOKEN"]}
    url = f"http://{running.stack.site.entrance(entrance)}{path}"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, url, data=msgspec.json.encode(body)) as response,
    ):
        text = await response.text()
        assert response.status == 200, f"{method} {path}: {response.status} {text}"
        return json.loads(text)


async def set_quotas(running: Running, tenant: Tenant, **quotas: float) -> None:
    """Change some of the tenant's quotas."""
    await call(running, "admin", "PATCH", f"/tenants/{tenant.id}/quotas", quotas)


async def counters(running: Running, tenant: Tenant) -> dict[str, Any]:
    """What the backend counts of the tenant."""
    return (await call(running, "admin", "GET", "/counters", None))["tenants"][tenant.id]


@asynccontextmanager
async def model_does(running: Running, tenant: Tenant, **how: object) -> AsyncGenerator[None]:
    """Hold the stub model to a behaviour towards one tenant."""
    await call(running, "model", "PUT", "/behaviour", {"tenant": tenant.id, **how})
    try:
        yield
    finally:
        await call(running, "model", "DELETE", "/behaviour", {"tenant": tenant.id})


@asynccontextmanager
async def slow_link(running: Running, link: str, delay_ms: int) -> AsyncGenerator[None]:
    """Let every reply over a link come that much later."""
    toxic = Toxic("slow", "latency", "downstream", {"latency": delay_ms, "jitter": 0})
    await running.stack.links.add(link, toxic)
    try:
        yield
    finally:
        await running.stack.links.remove(link, toxic.name)


async def model_calls(running: Running, tenant: Tenant) -> int:
    """How often the model was asked on the tenant's behalf."""
    return (await call(running, "model", "GET", "/calls", None)).get(tenant.id, 0)


@asynccontextmanager
async def redis(running: Running, user: str = "app") -> AsyncGenerator[Any]:
    """A connection of our own: as `app`, which the backend uses too, or the lab's others."""
    where = running.stack.site.observers["redis"]
    password = "REDIS_PASSWORD" if user == "app" else f"REDIS_{user.upper()}_PASSWORD"
    connection: Any = Redis(
        host=where.host, port=where.port, username=user,
        password=running.stack.site.variables[password],
    )  # fmt: skip
    async with connection:
        yield connection


def state_key(tenant: Tenant) -> str:
    """Where the state of the tenant's only user is."""
    return f"agent_state:{tenant.id}.user"


async def state(running: Running, tenant: Tenant) -> dict[str, Any]:
    """The stored document, with its `epoch` and `version`; fails the test when there is none."""
    async with redis(running, "observer") as connection:
        stored = await connection.get(state_key(tenant))
    assert stored is not None, f"{state_key(tenant)} is not there"
    epoch, version, _, document = stored.split(b" ", 3)
    return {**json.loads(document), "epoch": int(epoch), "version": int(version)}


async def many(session: Session, count: int, action: Callable[[int], Action]) -> list[str]:
    """That many actions at once; what each was told."""
    return await asyncio.gather(*(ask(session, action(n), f"m{n}") for n in range(count)))


def refused(told: list[str], code: str = "") -> int:
    """How many were refused (for this reason)."""
    return sum(words.startswith(f"refused {code}") for words in told)
