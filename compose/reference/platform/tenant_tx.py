"""The only way to a tenant's rows: a short transaction, whose row security knows the tenant."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from .fair import Gate
from .pool import LOST, PlainConnection, Pool
from .problems import Problem

_ID = re.compile(r"[a-z0-9-]{1,40}")
LIGHT_MS = 5.0
"""Work below this is ordinary; when it hangs, the connection is to blame."""


class Database:
    """Admission, a connection, and a transaction for one tenant."""

    def __init__(self, pool: Pool, gate: Gate, store_seconds: float) -> None:
        self._pool, self._gate, self._store_seconds = pool, gate, store_seconds

    @asynccontextmanager
    async def tenant_tx(
        self, tenant: str, until: float, *, cost_ms: float = 1.0, writes: bool = False
    ) -> AsyncGenerator[PlainConnection]:
        """A transaction as `tenant` that must be over at loop time `until`.

        cost_ms is what it is expected to take in the server; it orders the fair queue and extends
        the limit for one round trip. Raises Problem: `postgres_unavailable` (definite unless
        `writes` and COMMIT was under way), `queue_full`; errors of the statement propagate.
        """
        async with self._gate.slot(tenant, cost_ms):
            connection = await self._pool.take()
            healthy = committing = False
            try:
                limit = min(until, self._limit(cost_ms))
                async with asyncio.timeout_at(limit):
                    await connection.execute(
                        begin(tenant, limit - asyncio.get_running_loop().time())
                    )
                    yield connection
                    committing = True
                    await connection.execute("COMMIT")
                healthy = True
            except LOST:
                if cost_ms <= LIGHT_MS:  # a tenant's slow query must not open the breaker for all
                    self._pool.breaker.failed()
                raise Problem(
                    "postgres_unavailable", definite=not (writes and committing)
                ) from None
            except (asyncpg.PostgresError, Problem):
                healthy = await self._rolled_back(connection)
                raise
            finally:
                self._pool.give(connection, healthy=healthy)

    def _limit(self, cost_ms: float) -> float:
        return asyncio.get_running_loop().time() + self._store_seconds + 8 * cost_ms / 1000

    async def _rolled_back(self, connection: PlainConnection) -> bool:
        try:
            await connection.execute("ROLLBACK", timeout=self._store_seconds)
        except (*LOST, asyncpg.PostgresError):
            return False
        return True


def begin(tenant: str, seconds: float) -> str:
    """The opening statements, one round trip; the id is checked, for it stands in the text."""
    if not _ID.fullmatch(tenant):
        raise ValueError(f"not a tenant id: {tenant!r}")
    limit_ms = max(1, int(seconds * 800))  # the server gives up first, which keeps the connection
    return (
        f"BEGIN; SELECT set_config('app.tenant', '{tenant}', true); "
        f"SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {limit_ms}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {limit_ms + 1000}"
    )
