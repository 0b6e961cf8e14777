"""Where quotas are kept: a row of the tenant's in Postgres, read whenever a socket opens."""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec

from . import log
from .admission import Admission
from .problems import Problem
from .quotas import changed
from .tenant_tx import Database

OWN = "SELECT quotas FROM tenants WHERE tenant_id = $1"
REFRESH_SECONDS = 2.0


async def refresh(admission: Admission, database: Database, tenant: str, now: float) -> None:
    """Hold the tenant to its own quotas as they are kept, `now` being loop time.

    When Postgres does not answer, what is known stays, or else the defaults: never no limits.
    """
    try:
        async with (
            asyncio.timeout_at(now + REFRESH_SECONDS),  # the wait for a connection included
            database.tenant_tx(tenant, now + REFRESH_SECONDS) as tx,
        ):
            kept = await tx.fetchval(OWN, tenant)
    except (Problem, asyncpg.PostgresError, TimeoutError) as error:
        reason = error.code if isinstance(error, Problem) else type(error).__name__
        log.line("quotas_not_refreshed", tenant=tenant, reason=reason)
        return
    try:
        admission.set_quotas(tenant, changed(admission.default, (kept or "{}").encode()), now)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        log.line("quotas_not_understood", tenant=tenant, reason=str(error))
