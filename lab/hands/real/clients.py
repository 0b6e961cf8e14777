"""Tenants that misbehave: sessions of the lab's own, through the system's own driver.

Every misbehaviour has its own driver and its own relays, so that nothing of it is left when it
ends. What the system does to such a session (a refusal, a reset) is counted and is no error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from anyio import CancelScope, Event, create_task_group
from anyio.abc import TaskGroup

from lab.errors import UsageError, one_line
from lab.hands.clients import Manner
from lab.hands.real.manners import Party, check, misbehave
from lab.hands.real.relay import relayed
from lab.load.outcome import classify
from lab.system import Driver, DriverFactory, Session, Site, Tenant

CONNECT_SECONDS = 5.0


@runtime_checkable
class Revoking(Protocol):
    """A driver that can make a tenant's tokens worthless."""

    async def revoke(self, tenants: Sequence[Tenant]) -> None:
        """End every token that these tenants hold, sessions that are open included."""
        ...


@dataclass
class _Going:
    """One misbehaviour that is under way, or is over."""

    scope: CancelScope = field(default_factory=CancelScope)
    begun: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)
    counts: Counter[str] = field(default_factory=Counter[str])


class NoClients:
    """Nobody has tenants here: before they are made."""

    async def begin(self, name: str, manner: Manner) -> None:
        """Refused."""
        raise UsageError("there are no tenants yet", where=manner.what)

    async def end(self, name: str) -> None:
        """Nothing goes on."""

    async def counts(self, name: str) -> Mapping[str, float]:
        """Nothing was done."""
        return {}

    async def revoke(self, tenant: str) -> None:
        """Refused."""
        raise UsageError("there are no tenants yet", where=tenant)


class TenantClients:
    """The `Clients` of a run, for its tenants by logical name."""

    def __init__(
        self,
        build: DriverFactory,
        path: Path,
        site: Site,
        tenants: Sequence[Tenant],
        tasks: TaskGroup,
    ) -> None:
        self._build, self._path, self._site, self._tasks = build, path, site, tasks
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._going: dict[str, _Going] = {}

    async def begin(self, name: str, manner: Manner) -> None:
        """See `Clients`."""
        tenant = self._known(manner.tenant)
        driver = self._build(self._site)
        try:
            check(driver.actions, manner)
        finally:
            await driver.close()
        await self.end(name)
        going = self._going[name] = _Going(counts=self._counted(name))
        self._tasks.start_soon(self._run, going, tenant, manner)
        await going.begun.wait()

    async def end(self, name: str) -> None:
        """See `Clients`."""
        going = self._going.get(name)
        if going is not None:
            going.scope.cancel()
            await going.ended.wait()

    async def counts(self, name: str) -> Mapping[str, float]:
        """See `Clients`."""
        return {what: float(number) for what, number in self._counted(name).items()}

    async def revoke(self, tenant: str) -> None:
        """See `Clients`."""
        driver = self._build(self._site)
        try:
            if not isinstance(driver, Revoking):
                what = "this system's driver cannot end a tenant's tokens"
                raise UsageError(what, where=str(self._path), mend="it defines `revoke(tenants)`")
            await driver.revoke([self._known(tenant)])
        finally:
            await cast("Driver", driver).close()

    def _known(self, name: str) -> Tenant:
        if name not in self._tenants:
            raise UsageError(f"no tenant {name!r}", mend=f"there are {', '.join(self._tenants)}")
        return self._tenants[name]

    def _counted(self, name: str) -> Counter[str]:
        return self._going[name].counts if name in self._going else Counter()

    async def _run(self, going: _Going, tenant: Tenant, manner: Manner) -> None:
        """One misbehaviour from its connections to its end."""
        try:
            with going.scope:
                async with relayed(self._site) as (site, relays):
                    driver = self._build(site)
                    try:
                        party = Party(
                            connect=_connecting(driver, tenant, self._path, going.counts),
                            relays=tuple(relays.values()),
                            counts=going.counts,
                            path=self._path,
                        )
                        await misbehave(party, manner, going.begun.set)
                    finally:
                        with CancelScope(shield=True):
                            await driver.close()
        finally:
            going.ended.set()
            going.begun.set()


def _connecting(
    driver: Driver, tenant: Tenant, path: Path, counts: Counter[str]
) -> Callable[[], asyncio.Future[Session | None]]:
    async def connect() -> Session | None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                session = await driver.connect(tenant)
        except Exception as error:  # noqa: BLE001 - classify raises the driver's own bugs
            outcome, _ = classify(error, path)
            counts["refused" if outcome == "fail" else "lost"] += 1
            return None
        counts["connected"] += 1
        return session

    return lambda: asyncio.ensure_future(connect())


@asynccontextmanager
async def tenant_clients(
    build: DriverFactory, path: Path, site: Site, tenants: Sequence[Tenant]
) -> AsyncGenerator[TenantClients]:
    """The hand, for as long as the block lasts; whatever still goes on then is ended."""
    with one_line():
        async with create_task_group() as tasks:
            yield TenantClients(build, path, site, tenants, tasks)
            tasks.cancel_scope.cancel()
