"""Turns the lab's actions into the messages of `app.py`. Copy it beside a backend of your own."""

import hmac
import json

from redis.asyncio import Redis

from lab.actions import Action, List, Read, Work, Write
from lab.system import Census, Endpoint, Reply, Site, Tenant, TenantPlan
from lab.transport import Line

MESSAGES = {
    Write: lambda a: {"do": "write", "key": a.key, "value": a.value},
    Read: lambda a: {"do": "read", "key": a.key},
    List: lambda a: {"do": "list"},
    Work: lambda a: {"do": "work", "ms": a.amount_ms},
}


def read(message: str) -> tuple[str, tuple[str, dict]]:
    reply = json.loads(message)
    return reply["id"], (message, reply)


class Session:
    def __init__(self, line: Line) -> None:
        self.line = line
        self.overheard, self.close, self.abort = line.overheard, line.close, line.abort

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        message = json.dumps({"id": op} | MESSAGES[type(action)](action))
        raw, reply = await self.line.ask(op, message, deadline_seconds)
        if "error" in reply:
            self.line.hear(raw)
            raise ConnectionError(reply["error"])
        return Reply(reply["result"] if isinstance(action, Read) else None, raw)


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
        url = f"ws://{self.site.entrance('client', tenant.cohort)}"
        return Session(await Line(read).open(url, headers={"Authorization": token}))

    async def retire(self, tenants: list[Tenant]) -> None:
        await self.redis.delete(*[f"tenant:{tenant.id}" for tenant in tenants])

    async def census(self) -> Census:
        keys = [key async for key in self.redis.scan_iter("tenant:*")]
        named = [client["name"] for client in await self.redis.client_list() if client["name"]]
        return {"keys": tuple(sorted(keys)), "connections": tuple(sorted(named))}

    async def close(self) -> None:
        await self.redis.aclose()


driver = Driver
