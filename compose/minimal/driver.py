"""Turns the lab's actions into the messages of `app.py`. Copy it beside a backend of your own."""

import asyncio
import hmac
import json

from redis.asyncio import Redis
from websockets.asyncio.client import connect

from lab.actions import Action, List, Read, Work, Write
from lab.system import Census, Endpoint, Reply, Site, Tenant, TenantPlan

MESSAGES = {
    Write: lambda a: {"do": "write", "key": a.key, "value": a.value},
    Read: lambda a: {"do": "read", "key": a.key},
    List: lambda a: {"do": "list"},
    Work: lambda a: {"do": "work", "ms": a.amount_ms},
}


class Session:
    async def open(self, url: str, token: str) -> "Session":
        self.turn, self.heard, headers = asyncio.Lock(), [], {"Authorization": token}
        self.socket = await connect(url, additional_headers=headers, compression=None, proxy=None)
        return self

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        async with asyncio.timeout(deadline_seconds), self.turn:
            await self.socket.send(json.dumps({"id": op} | MESSAGES[type(action)](action)))
            while (reply := json.loads(raw := await self.socket.recv()))["id"] != op:
                self.heard.append(raw)  # the late answer to a question that was given up
        if "error" in reply:
            self.heard.append(raw)
            raise ConnectionError(reply["error"])
        return Reply(reply["result"] if isinstance(action, Read) else None, raw)

    def overheard(self) -> list[str]:
        heard, self.heard = self.heard, []
        return heard

    async def close(self) -> None:
        await self.socket.close()

    def abort(self) -> None:
        self.socket.transport.abort()


class Driver:
    actions = frozenset(MESSAGES)

    def __init__(self, site: Site) -> None:
        self.site, store = site, site.observers.get("redis", Endpoint("", 0))
        self.redis = Redis(host=store.host, port=store.port, decode_responses=True)

    async def provision(self, plan: TenantPlan) -> list[Tenant]:
        return [Tenant(name, f"{plan.prefix}-{name}", c) for name, c in plan.cohorts.items()]

    async def connect(self, tenant: Tenant) -> Session:
        key, who = self.site.variables["APP_KEY"].encode(), tenant.id
        token = f"{who}.{hmac.digest(key, who.encode(), 'sha256').hex()}"
        return await Session().open(f"ws://{self.site.entrance('client', tenant.cohort)}", token)

    async def retire(self, tenants: list[Tenant]) -> None:
        await self.redis.delete(*[f"tenant:{tenant.id}" for tenant in tenants])

    async def census(self) -> Census:
        keys = [key async for key in self.redis.scan_iter("tenant:*")]
        named = [client["name"] for client in await self.redis.client_list() if client["name"]]
        return {"keys": tuple(sorted(keys)), "connections": tuple(sorted(named))}

    async def close(self) -> None:
        await self.redis.aclose()


driver = Driver
