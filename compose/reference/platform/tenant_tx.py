"""The only way to a tenant's rows: a short transaction, whose row security knows the tenant."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from . import metrics
from .defects import planted
from .fair import Gate
from .pool import LOST, PlainConnection, Pool
from .problems import Problem

_ID = re.compile(r"[a-z0-9-]{1,40}")
FORGETFUL = ("connection_leak", "idle_after_cancel")
LIGHT_MS = 5.0
"""Work below this is ordinary; when it hangs, the connection is to blame."""


class Database:
    """Admission, a connection, and a transaction for one tenant."""

    def __init__(self, pool: Pool, gate: Gate, store_seconds: float) -> None:
        self._pool, self._gate, self._store_seconds = pool, gate, store_seconds
        self._forgotten: list[PlainConnection] = []  # only planted defects put anything in here
        self._late: set[asyncio.Future[None]] = set()  # nor in here
        self.lent: dict[int, str] = {}  # server process of each connection in use -> for whom

    @asynccontextmanager
    async def tenant_tx(
        self, tenant: str, until: float, *, cost_ms: float = 1.0, writes: bool = False
    ) -> AsyncGenerator[PlainConnection]:
        """A transaction as `tenant` that must be over at loop time `until`.

        cost_ms is what it is expected to take in the server; it orders the fair queue and extends
        the limit for one round trip. Raises Problem: `postgres_unavailable` (definite unless
        `writes` and COMMIT was under way), `queue_full`; errors of the statement propagate.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        if self._forgotten and not any(map(planted, FORGETFUL)):
            self._give_back()
        async with self._gate.slot(tenant, cost_ms):
            connection = await self._pool.take()
            self.lent[connection.get_server_pid()] = tenant
            metrics.pool_wait.observe(loop.time() - asked)
            healthy = committing = keeps = late = False
            try:
                limit = min(until, loop.time() + self._store_seconds + 8 * cost_ms / 1000)
                async with asyncio.timeout_at(limit):
                    opening = begin(tenant, limit - loop.time(), connection, writes=writes)
                    await connection.execute(opening)
                    yield connection
                    committing = True
                    if writes and planted("ack_before_commit"):
                        late = True
                        self._commit_later(connection)
                        return
                    await connection.execute("COMMIT")
                healthy = True
            except LOST:
                if cost_ms <= LIGHT_MS:  # a tenant's slow query must not open the breaker for all
                    self._pool.breaker.failed()
                definite = not (writes and committing) or planted("in_doubt_as_failed")
                raise Problem("postgres_unavailable", definite=definite) from None
            except (asyncpg.PostgresError, Problem):
                healthy = await self._rolled_back(connection)
                keeps = planted("connection_leak")
                raise
            except asyncio.CancelledError:
                keeps = planted("idle_after_cancel")
                raise
            finally:
                if keeps:
                    self._forgotten.append(connection)
                elif not late:
                    self._give(connection, healthy=healthy)

    async def _rolled_back(self, connection: PlainConnection) -> bool:
        try:
            await connection.execute("ROLLBACK", timeout=self._store_seconds)
        except (*LOST, asyncpg.PostgresError):
            return False
        return True

    def _commit_later(self, connection: PlainConnection) -> None:
        """Planted: nobody waits for it."""
        task = asyncio.ensure_future(self._committed(connection))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _give_back(self) -> None:
        """What defects have kept, once none of them is planted any more."""
        while self._forgotten:
            self._give(self._forgotten.pop(), healthy=True)

    def _give(self, connection: PlainConnection, *, healthy: bool) -> None:
        """It is nobody's any more."""
        self.lent.pop(connection.get_server_pid(), None)
        self._pool.give(connection, healthy=healthy)

    async def _committed(self, connection: PlainConnection) -> None:
        """Planted: the answer is on its way already."""
        healthy = False
        try:
            await connection.execute("COMMIT", timeout=self._store_seconds)
            healthy = True
        except (*LOST, asyncpg.PostgresError):
            pass
        finally:
            self._give(connection, healthy=healthy)


def begin(tenant: str, seconds: float, connection: PlainConnection, *, writes: bool) -> str:
    """The opening statements, one round trip; the id is checked, for it stands in the text."""
    if not _ID.fullmatch(tenant):
        raise ValueError(f"not a tenant id: {tenant!r}")
    limit_ms = max(1, int(seconds * 800))  # the server gives up first, which keeps the connection
    opened = "BEGIN"
    setting = f"SELECT set_config('app.tenant', '{tenant}', true)"
    if not writes and (planted("set_local_outside") or planted("policy_escape")):
        opened = "SELECT"
    if not writes and planted("session_tenant"):  # "set once", for whoever has it first
        setting = "SELECT" if connection.settled else setting.replace("true", "false")
        connection.settled = True
    if planted("synchronous_commit_off"):
        setting += "; SET LOCAL synchronous_commit = off"
    return (
        f"{opened}; {setting}; SET LOCAL application_name = 'tenant {tenant}'; "
        f"SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {limit_ms}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {limit_ms + 1000}"
    )
