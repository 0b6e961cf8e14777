"""A whole system in a dictionary, with its driver: sound, or broken in one named way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.actions import Action, Claim, Edit, List, Raw, Read, Spend, Work, Write
from lab.system import Census, Refused, Reply, Session, Tenant, TenantPlan
from tests.fakes.stack import FakeContainers, FakeLinks

SEATS = 10
FRONT, WAY = "app", "client"


@dataclass
class MemorySystem:
    """What the system knows. `broken` names the one thing that it, or its driver, does wrongly."""

    broken: str = ""
    links: FakeLinks = field(default_factory=lambda: FakeLinks((f"{WAY}@first", f"{WAY}@second")))
    containers: FakeContainers = field(default_factory=FakeContainers)
    rows: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    balances: dict[str, int] = field(default_factory=dict[str, int])
    versions: dict[str, int] = field(default_factory=dict[str, int])
    spent: dict[str, int] = field(default_factory=dict[str, int])
    seats: int = 0
    sockets: list[str] = field(default_factory=list[str])
    poisoned: bool = False

    def does(self, what: str) -> bool:
        """Whether this is what it does wrongly."""
        return self.broken == what

    async def answer(self) -> None:
        """As long as its service is frozen, nobody answers."""
        while (await self.containers.state(FRONT)).paused:  # noqa: ASYNC110 - as a process would
            await asyncio.sleep(0.01)
        if self.poisoned:
            raise ConnectionResetError("it has died of garbage")


@dataclass
class MemorySession:
    """One connection."""

    system: MemorySystem
    tenant: str
    heard: list[str] = field(default_factory=list[str])

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """See Session."""
        deaf = self.system.does("deaf to its deadline")
        async with asyncio.timeout(None if deaf else deadline_seconds):
            await self.system.answer()
        if self.system.does("mumbles"):
            self.heard.append("what nobody asked for")
        value = self._done(action, op)
        raw = "" if self.system.does("no raw") else f"{op} {value}"
        return Reply(None if isinstance(action, List) else value, raw)

    def _done(self, action: Action, op: str) -> str | None:
        system, own = self.system, self.tenant
        match action:
            case Write(key, value):
                system.rows[own, key] = "lost" if system.does("loses writes") else value
            case Read(key):
                shared = system.does("one tenant for all")
                found = [
                    v for (t, k), v in system.rows.items() if k == key and (shared or t == own)
                ]
                return found[-1] if found else None
            case List():
                keys = system.does("lists keys only")
                return str([k if keys else v for (t, k), v in system.rows.items() if t == own])
            case Spend(amount):
                return self._spent(amount, op)
            case Edit(_, version):
                return self._edited(version)
            case Claim():
                return self._claimed()
            case Raw():
                system.poisoned = system.does("dies of garbage")
                raise ConnectionResetError("no such message")
            case Work():
                if system.does("refuses work"):
                    raise Refused("busy")
        return None

    def _spent(self, amount: int, op: str) -> str:
        system, key = self.system, f"{self.tenant}/{op}"
        if key not in system.spent or system.does("spends twice"):
            balance = system.balances.get(self.tenant, 100) - amount
            system.balances[self.tenant] = system.spent[key] = balance
        return str(system.spent[key])

    def _edited(self, version: int) -> str:
        known = self.system.versions.get(self.tenant, 1)
        if version != known and not self.system.does("last writer wins"):
            raise Refused("stale")
        self.system.versions[self.tenant] = known + 1
        return str(known + 1)

    def _claimed(self) -> str:
        if self.system.seats >= SEATS:
            raise Refused("none left")
        self.system.seats += 1
        return "seat-1" if self.system.does("gives one seat twice") else f"seat-{self.system.seats}"

    def overheard(self) -> Sequence[str]:
        """See Session."""
        heard, self.heard = self.heard, []
        return heard

    async def close(self) -> None:
        """See Session."""
        if self.system.does("cannot close"):
            raise RuntimeError("no goodbye")
        self._gone()

    def abort(self) -> None:
        """See Session."""
        if self.system.broken not in ("forgets who broke off", "tidies up at retire only"):
            self._gone()

    def _gone(self) -> None:
        if self.tenant in self.system.sockets:
            self.system.sockets.remove(self.tenant)


@dataclass
class MemoryDriver:
    """The driver."""

    system: MemorySystem
    retired: set[str] = field(default_factory=set[str])
    actions: frozenset[type[Action]] = frozenset({Write, Read, List, Work, Spend, Edit, Claim, Raw})

    async def provision(self, plan: TenantPlan) -> Sequence[Tenant]:
        """See Driver."""
        prefix = "" if self.system.does("forgets the prefix") else f"{plan.prefix}-"
        return [Tenant(name, f"{prefix}{name}", cohort) for name, cohort in plan.cohorts.items()]

    async def connect(self, tenant: Tenant) -> Session:
        """See Driver."""
        cohort = "first" if self.system.does("one entrance for all") else tenant.cohort
        if f"{WAY}@{cohort}" in self.system.links.closed:
            raise ConnectionRefusedError("nobody is there")
        self.system.sockets.append(tenant.id)
        return MemorySession(self.system, tenant.id)

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """See Driver."""
        ids = {tenant.id for tenant in tenants}
        if self.system.does("retires once only") and ids & self.retired:
            raise KeyError(*ids & self.retired)
        self.retired |= ids
        if self.system.does("tidies up at retire only"):
            self.system.sockets = [each for each in self.system.sockets if each not in ids]
        if not self.system.does("leaves rows"):
            rows = self.system.rows
            self.system.rows = {key: value for key, value in rows.items() if key[0] not in ids}

    async def census(self) -> Census:
        """See Driver."""
        if self.system.does("counts nothing"):
            return {}
        rows = sorted(f"{tenant}/{key}" for tenant, key in self.system.rows)
        return {"rows": tuple(rows), "sockets": tuple(sorted(self.system.sockets))}

    async def close(self) -> None:
        """Holds nothing."""
