"""The fake backend's driver: a real WebSocket client, loaded by its path like any system's driver.

`Site.variables`, all optional: BUG names an action on which it raises KeyError, as a broken driver
may; DEAF names one on which it forgets its deadline; DIE names one on which its whole process ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lab.actions import Action, List, Raw, Read, Work, Write
from lab.system import Census, Driver, Refused, Reply, Session, Site, Tenant, TenantPlan


class FakeSession:
    """One connection; one task reads all answers and hands them out."""

    def __init__(self, connection: ClientConnection, variables: dict[str, str]) -> None:
        self._connection, self._variables = connection, variables
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._heard: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """See Session."""
        name = type(action).__name__.lower()
        self._misbehave(name)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[op] = answer
        try:
            deaf = self._variables.get("DEAF") == name
            async with asyncio.timeout(None if deaf else deadline_seconds):
                await self._connection.send(_request(op, name, action))
                raw = await answer
        finally:
            self._waiting.pop(op, None)
        body = msgspec.json.decode(raw, type=dict[str, object])
        if refused := body.get("refused"):
            self._heard.append(raw)
            raise Refused(str(refused))
        value = body.get("value")
        return Reply(None if value is None else str(value), raw)

    def overheard(self) -> Sequence[str]:
        """See Session."""
        heard, self._heard = self._heard, []
        return heard

    async def close(self) -> None:
        """See Session."""
        await self._connection.close()
        await self._reader

    def abort(self) -> None:
        """See Session."""
        self._connection.transport.abort()

    async def _read(self) -> None:
        try:
            async for text in self._connection:
                self._hand_out(text if isinstance(text, str) else text.decode())
        except ConnectionClosed:
            pass  # told to everybody who waits, just below
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the connection is gone"))

    def _hand_out(self, raw: str) -> None:
        waiting = self._waiting.get(str(msgspec.json.decode(raw, type=dict[str, object])["op"]))
        if waiting is not None and not waiting.done():
            waiting.set_result(raw)
        else:
            self._heard.append(raw)

    def _misbehave(self, name: str) -> None:
        if self._variables.get("BUG") == name:
            raise KeyError(name)
        if self._variables.get("DIE") == name:
            os.write(2, b"Fatal: the driver took the process with it\n")
            os._exit(3)


class FakeDriver:
    """The driver."""

    actions: frozenset[type[Action]] = frozenset({Write, Read, List, Work, Raw})

    def __init__(self, site: Site) -> None:
        self._site = site
        self._numbers = count()

    async def provision(self, plan: TenantPlan) -> Sequence[Tenant]:
        """See Driver."""
        made = [Tenant(n, f"{plan.prefix}-{n}", cohort) for n, cohort in plan.cohorts.items()]
        for tenant in made:
            await self._administer("provision", tenant.id)
        return made

    async def connect(self, tenant: Tenant) -> Session:
        """See Driver."""
        where = self._site.entrance("client", tenant.cohort)
        return FakeSession(
            await _connected(f"ws://{where}/{tenant.id}"), dict(self._site.variables)
        )

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """See Driver."""
        for tenant in tenants:
            await self._administer("retire", tenant.id)

    async def census(self) -> Census:
        """See Driver."""
        return msgspec.json.decode(await self._administer("census", "") or "{}", type=Census)

    async def close(self) -> None:
        """Holds nothing."""

    async def _administer(self, action: str, key: str) -> str | None:
        request = {"op": f"admin-{next(self._numbers)}", "action": action, "fields": {"key": key}}
        async with await _connected(f"ws://{self._site.entrance('client')}/admin") as admin:
            await admin.send(msgspec.json.encode(request).decode())
            answer = msgspec.json.decode(await admin.recv(), type=dict[str, object])
        value = answer.get("value")
        return None if value is None else str(value)


async def _connected(uri: str) -> ClientConnection:
    return await connect(uri, compression=None, proxy=None, ping_interval=None, close_timeout=1)


def _request(op: str, name: str, action: Action) -> str:
    fields = {} if isinstance(action, Raw) else asdict(action)
    return msgspec.json.encode({"op": op, "action": name, "fields": fields}).decode()


def driver(site: Site) -> Driver:
    """What the stack file's `driver` names."""
    return FakeDriver(site)
