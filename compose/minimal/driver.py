"""Turns the lab's actions into the messages of `app.py`. Copy it beside a backend of your own."""

import asyncio
import hmac
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property

from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lab.actions import Action, List, Read, Work, Write
from lab.system import Census, Refused, Reply, Site, Tenant, TenantPlan

MESSAGES = {
    Write: lambda a: {"do": "write", "key": a.key, "value": a.value},
    Read: lambda a: {"do": "read", "key": a.key},
    List: lambda a: {"do": "list"},
    Work: lambda a: {"do": "work", "ms": a.amount_ms},
}


class Session:
    """One socket; answers find their question by id, so that many can be under way."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.waiting = socket, {}
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            async for raw in self.socket:
                answer = self.waiting.pop(json.loads(raw)["id"], None)
                if answer and not answer.done():
                    answer.set_result(raw)
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the socket closed"))

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        async with asyncio.timeout(deadline_seconds):
            answer = self.waiting[op] = asyncio.get_running_loop().create_future()
            try:
                await self.socket.send(json.dumps({"id": op} | MESSAGES[type(action)](action)))
                raw = await answer
            finally:
                self.waiting.pop(op, None)
        reply = json.loads(raw)
        if "refused" in reply:
            raise Refused(reply["refused"])
        if "error" in reply:
            raise ConnectionError(reply["error"])
        return Reply(reply["result"] if isinstance(action, Read) else None, raw)

    async def close(self) -> None:
        await self.socket.close()

    def abort(self) -> None:
        self.socket.transport.abort()


class Driver:
    """Tenants need no sign-up here: a tenant is whoever holds a token."""

    actions = frozenset(MESSAGES)

    def __init__(self, site: Site) -> None:
        self.site = site

    @cached_property
    def redis(self) -> Redis:
        store = self.site.observers["redis"]
        return Redis(host=store.host, port=store.port, decode_responses=True)

    async def provision(self, plan: TenantPlan) -> list[Tenant]:
        ids = {name: f"{plan.prefix}-{name}" for name in plan.cohorts}
        return [Tenant(name, ids[name], cohort) for name, cohort in plan.cohorts.items()]

    async def connect(self, tenant: Tenant) -> Session:
        where = self.site.entrance("client", tenant.cohort)
        key, id = self.site.variables["APP_KEY"].encode(), tenant.id
        token = {"Authorization": f"Bearer {id}.{hmac.digest(key, id.encode(), 'sha256').hex()}"}
        options = {"compression": None, "proxy": None, "ping_interval": None, "close_timeout": 2}
        return Session(await connect(f"ws://{where}", additional_headers=token, **options))

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        await self.redis.delete(*[f"tenant:{tenant.id}" for tenant in tenants])

    async def census(self) -> Census:
        keys = [key async for key in self.redis.scan_iter("tenant:*")]
        named = [client["name"] for client in await self.redis.client_list() if client["name"]]
        return {"keys": tuple(sorted(keys)), "connections": tuple(sorted(named))}

    async def close(self) -> None:
        await self.redis.aclose()


driver = Driver
