"""Tenants made for a fault on a stack that has none of the lab's, and gone with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import CancelScope, fail_after

from lab.errors import LabError, one_line
from lab.hands.real.clients import TenantClients, tenant_clients
from lab.journal import Created, Journal, Removed
from lab.system import Driver, DriverFactory, Site, Tenant, TenantPlan

SECONDS = 30.0
"""For making a guest, and for removing it."""


@asynccontextmanager
async def guest(
    build: DriverFactory, path: Path, site: Site, plan: TenantPlan, journal: Journal
) -> AsyncGenerator[TenantClients]:
    """Make the tenants of the plan, act for them while the block lasts, and remove them.

    journal: knows of each from when it is made until it is gone again. Raises LabError when they
    cannot be made, or stay.
    """
    driver = build(site)
    try:
        try:
            with one_line(), fail_after(SECONDS):
                made = await driver.provision(plan)
        except (OSError, RuntimeError) as error:
            raise LabError(f"no tenants: {error}", where=str(path)) from error
        for tenant in made:
            journal.append(Created(kind="guest", name=tenant.id), durable=True)
        try:
            async with tenant_clients(build, path, site, made) as clients:
                yield clients
        finally:
            await retired(driver, made, journal)
    finally:
        with CancelScope(shield=True):
            await driver.close()


async def retired(driver: Driver, guests: Sequence[Tenant], journal: Journal) -> None:
    """Remove guests, whatever cancels, and note that they are gone. Raises LabError."""
    with CancelScope(shield=True), one_line():
        try:
            with fail_after(SECONDS):
                await driver.retire(guests)
        except (OSError, RuntimeError) as error:
            names = ", ".join(guest.id for guest in guests)
            raise LabError(f"stays on the system: {error}", where=names) from error
    for guest in guests:
        journal.append(Removed(kind="guest", name=guest.id), durable=True)
