"""A container for every tenant, for as long as the driver has that tenant provisioned.

The service that `x-lab.per_tenant` names is a template: it gets the tenant's id (`LAB_TENANT`) and
a secret that proves it (`LAB_TENANT_SECRET`): HMAC-SHA256 (RFC 2104), in hex, of the id under
`LAB_TENANT_KEY`, so that a service which has that key needs no list.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from anyio import CapacityLimiter, create_task_group, to_thread

from lab.actions import Action
from lab.engine.things import Found
from lab.hands.real.containers import RunContainers
from lab.stack.start import Start
from lab.system import Census, Driver, DriverFactory, Session, Site, Tenant, TenantPlan

AT_ONCE = 8
"""Containers that are made side by side; more only wait for one another in the engine."""


def secret_of(tenant: str, key: str) -> str:
    """What proves that a container is this tenant's."""
    return hmac.new(key.encode(), tenant.encode(), "sha256").hexdigest()


@dataclass(frozen=True)
class TenantContainers:
    """The containers of the template service, one a tenant; `containers` learns of each."""

    start: Start
    containers: RunContainers

    async def begin(self, tenants: Sequence[str]) -> None:
        """Start the containers of these tenants. Raises LabError when one does not start."""
        limiter = CapacityLimiter(AT_ONCE)
        async with create_task_group() as group:
            for tenant in tenants:
                group.start_soon(self._begin, tenant, limiter)

    async def end(self, tenants: Sequence[str]) -> None:
        """Remove them; one that is not there is fine."""
        async with create_task_group() as group:
            for tenant in tenants:
                group.start_soon(self._end, tenant)

    async def _begin(self, tenant: str, limiter: CapacityLimiter) -> None:
        start, template = self.start, self.start.system.per_tenant
        own = {
            "LAB_TENANT": tenant,
            "LAB_TENANT_SECRET": secret_of(tenant, start.variables["LAB_TENANT_KEY"]),
        }
        service = start.system.filled_services({**start.variables, **own})[template]
        name = _named(template, tenant)
        async with limiter:
            await start.one_more(name, service, start.plan.home[template])
        self.containers.adopt(name, start.ids[name])

    async def _end(self, tenant: str) -> None:
        name = _named(self.start.system.per_tenant, tenant)
        self.containers.release(name)
        if container := self.start.ids.pop(name, ""):
            thing = Found("container", container, name)
            await to_thread.run_sync(self.start.engine.remove, thing)


def _named(template: str, tenant: str) -> str:
    """No service's name has a dot in it, so this is nobody else's."""
    return f"{template}.{tenant}"


@dataclass(frozen=True)
class Accompanied:
    """A driver whose tenants have their containers from provisioning until they are retired."""

    driver: Driver
    tenants: TenantContainers

    @property
    def actions(self) -> frozenset[type[Action]]:
        """As the driver's own."""
        return self.driver.actions

    async def provision(self, plan: TenantPlan) -> Sequence[Tenant]:
        """Create the tenants, then their containers."""
        made = await self.driver.provision(plan)
        await self.tenants.begin([tenant.id for tenant in made])
        return made

    async def connect(self, tenant: Tenant) -> Session:
        """As the driver does."""
        return await self.driver.connect(tenant)

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """Remove the containers, then the tenants."""
        await self.tenants.end([tenant.id for tenant in tenants])
        await self.driver.retire(tenants)

    async def census(self) -> Census:
        """As the driver's; a container shows in the engine's own list, by its label."""
        return await self.driver.census()

    async def close(self) -> None:
        """As the driver does."""
        await self.driver.close()


def accompanied(factory: DriverFactory, start: Start, containers: RunContainers) -> DriverFactory:
    """A factory of drivers that bring each tenant's container with the tenant."""
    tenants = TenantContainers(start, containers)

    def made(site: Site) -> Driver:
        return Accompanied(factory(site), tenants)

    return made
