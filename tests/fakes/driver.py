"""The fake backend's driver: a real WebSocket client, loaded by its path like any system's driver.

`Site.variables`, all optional: BUG names an action on which it raises KeyError, as a broken driver
may; DEAF names one on which it forgets its deadline; DIE names one on which its whole process ends.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count

import msgspec

from lab.actions import Action, List, Raw, Read, Work, Write
from lab.system import Census, Driver, Refused, Reply, Session, Site, Tenant, TenantPlan
from lab.transport import Line

ADMIN_SECONDS, DEAF_SECONDS = 10.0, 3_600.0


class FakeSession:
    """One connection, on which many actions are under way."""

    def __init__(self, line: Line[str], variables: dict[str, str]) -> None:
        self._line, self._variables = line, variables
        self.overheard, self.close, self.abort = line.overheard, line.close, line.abort

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """See Session."""
        name = type(action).__name__.lower()
        self._misbehave(name)
        seconds = DEAF_SECONDS if self._variables.get("DEAF") == name else deadline_seconds
        raw = await self._line.ask(op, _request(op, name, action), seconds)
        body = msgspec.json.decode(raw, type=dict[str, object])
        if refused := body.get("refused"):
            self._line.hear(raw)
            raise Refused(str(refused))
        value = body.get("value")
        return Reply(None if value is None else str(value), raw)

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
        line = await Line(_read).open(f"ws://{where}/{tenant.id}")
        return FakeSession(line, dict(self._site.variables))

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
        op, fields = f"admin-{next(self._numbers)}", {"key": key}
        admin = await Line(_read).open(f"ws://{self._site.entrance('client')}/admin")
        request = msgspec.json.encode({"op": op, "action": action, "fields": fields})
        try:
            raw = await admin.ask(op, request.decode(), ADMIN_SECONDS)
        finally:
            await admin.close()
        value = msgspec.json.decode(raw, type=dict[str, object]).get("value")
        return None if value is None else str(value)


def _read(raw: str) -> tuple[str, str]:
    return str(msgspec.json.decode(raw, type=dict[str, object])["op"]), raw


def _request(op: str, name: str, action: Action) -> str:
    fields = {} if isinstance(action, Raw) else asdict(action)
    return msgspec.json.encode({"op": op, "action": name, "fields": fields}).decode()


def driver(site: Site) -> Driver:
    """What the stack file's `driver` names."""
    return FakeDriver(site)
