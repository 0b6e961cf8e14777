"""Limits through the system's own driver, on one driver that is kept for all calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from anyio import CancelScope, move_on_after

from lab.hands.quotas import NoQuotas, Quotas
from lab.system import Driver, DriverFactory, Governed, Metered, Site, Tenant
from lab.workload import Cohort

CLOSE_SECONDS = 1.0


class DriverQuotas(NoQuotas):
    """The `Quotas` of a run, for its tenants by logical name; refuses what the driver lacks."""

    def __init__(self, driver: Driver, tenants: Sequence[Tenant]) -> None:
        self._driver: object = driver
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._names = {tenant.id: tenant.name for tenant in tenants}

    async def limits(self, tenant: str) -> Mapping[str, float]:
        """See `Quotas`."""
        if not isinstance(self._driver, Governed):
            return await super().limits(tenant)
        return await self._driver.limits(self._tenants[tenant])

    async def limit(self, tenant: str, kind: str, amount: float) -> float:
        """See `Quotas`."""
        if not isinstance(self._driver, Governed):
            return await super().limit(tenant, kind, amount)
        return await self._driver.limit(self._tenants[tenant], kind, amount)

    async def unlimit(self, tenant: str, kind: str) -> None:
        """See `Quotas`."""
        if not isinstance(self._driver, Governed):
            return await super().unlimit(tenant, kind)
        return await self._driver.unlimit(self._tenants[tenant], kind)

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """See `Quotas`."""
        if not isinstance(self._driver, Metered):
            return {}
        meters = await self._driver.metered()
        return {self._names[t]: each for t, each in meters.items() if t in self._names}


async def sell(cohorts: Sequence[Cohort], quotas: Quotas) -> None:
    """Give every tenant what its cohort was sold. Raises UsageError where nobody has limits."""
    for cohort in cohorts:
        for tenant in cohort.tenants:
            for kind, amount in cohort.quotas.items():
                await quotas.limit(tenant, kind, amount)


@asynccontextmanager
async def tenant_quotas(
    build: DriverFactory, site: Site, tenants: Sequence[Tenant]
) -> AsyncGenerator[Quotas]:
    """The hand, for as long as the block lasts."""
    driver = build(site)
    try:
        yield DriverQuotas(driver, tenants)
    finally:
        with CancelScope(shield=True), move_on_after(CLOSE_SECONDS):
            await driver.close()
