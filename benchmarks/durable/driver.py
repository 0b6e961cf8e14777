"""A driver without tenants: the stores are written and read by whoever measures them."""

from __future__ import annotations

from collections.abc import Sequence

from lab.actions import Action
from lab.errors import LabError
from lab.system import Census, Session, Site, Tenant, TenantPlan


class NoTenants:
    """Two bare stores have no tenants, and so no actions."""

    actions: frozenset[type[Action]] = frozenset()

    async def provision(self, plan: TenantPlan) -> Sequence[Tenant]:
        """Nobody to make."""
        return ()

    async def connect(self, tenant: Tenant) -> Session:
        """Nobody to connect."""
        raise LabError("this system has no tenants", where=tenant.name)

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """Nobody to remove."""

    async def census(self) -> Census:
        """Nothing that tenants hold."""
        return {}

    async def close(self) -> None:
        """Nothing is held."""


def driver(site: Site) -> NoTenants:
    """The driver of a running stack."""
    return NoTenants()
