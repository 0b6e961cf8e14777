"""The way to talk to a stack that another process stood up: its driver, and the site for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UsageError
from lab.hands.quotas import Quotas
from lab.hands.real.quotas import tenant_quotas
from lab.stack.document import interpolate
from lab.stack.file import SystemFile, load, load_driver
from lab.stack.layout import Layout
from lab.stack.plan import EDGE, OBSERVER
from lab.stack.schema import pairs
from lab.system import DriverFactory, Endpoint, Site, Tenant


@dataclass(frozen=True, slots=True)
class Visit:
    """A driver for a stack that stands, where its file is, and what it is built from."""

    build: DriverFactory
    path: Path
    site: Site


def visit(
    layout: Layout, ports: Mapping[int, int], environments: Mapping[str, Mapping[str, str]]
) -> Visit:
    """Find the way in again.

    ports: of the interposer, inside -> on this host; environments: of each service's container.
    Raises UsageError when the system's folder is gone, or its tenants need containers of their own.
    """
    system = load(Path(layout.folder)).in_mode(layout.mode)
    if system.per_tenant:
        raise UsageError(
            f"in mode {layout.mode} every tenant needs a container of its own",
            where=system.name,
            mend="`lab run` makes tenants here, `lab inject` does not",
        )
    entrances: dict[tuple[str, str], Endpoint] = {}
    observers: dict[str, Endpoint] = {}
    for proxy in (proxy for proxy in layout.proxies if proxy.network == EDGE):
        name, _, cohort = proxy.name.partition("@")
        at = Endpoint("127.0.0.1", ports[proxy.port])
        if name == OBSERVER:
            observers[cohort] = at
        else:
            entrances[name, cohort] = at
    variables = variables_of(system, environments)
    site = Site(entrances, observers, variables, layout.mode)
    return Visit(load_driver(system.driver), system.driver, site)


def variables_of(
    system: SystemFile, environments: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """The stack file's variables, from the containers that got one as a whole value."""
    found: dict[str, str] = {}
    for name, service in system.services.items():
        for key, text in pairs(service.environment).items():
            used: list[str] = []
            around = interpolate(text, lambda name, _: used.append(name) or "")  # noqa: B023
            if len(used) == 1 and not around and key in environments.get(name, {}):
                found[used[0]] = environments[name][key]
    return found


class VisitingQuotas:
    """The `Quotas` of a stack that is kept up: tenants by their ids, a driver of its own a call.

    way: finds the way in, whenever it is needed.
    """

    def __init__(self, way: Callable[[], Awaitable[Visit]]) -> None:
        self._way = way

    async def limits(self, tenant: str) -> Mapping[str, float]:
        """See `Quotas`."""
        async with self._door(tenant) as quotas:
            return await quotas.limits(tenant)

    async def limit(self, tenant: str, kind: str, amount: float) -> float:
        """See `Quotas`."""
        async with self._door(tenant) as quotas:
            return await quotas.limit(tenant, kind, amount)

    async def unlimit(self, tenant: str, kind: str) -> None:
        """See `Quotas`."""
        async with self._door(tenant) as quotas:
            await quotas.unlimit(tenant, kind)

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing: whose meters would be asked for?"""
        return {}

    @asynccontextmanager
    async def _door(self, tenant: str) -> AsyncGenerator[Quotas]:
        way = await self._way()
        async with tenant_quotas(way.build, way.site, [Tenant(tenant, tenant, "")]) as quotas:
            yield quotas
