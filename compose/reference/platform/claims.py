"""Who holds units of limited resources: given back when a session ends, renewed while it is open.

A claim belongs to the session it came from. It is given back when that one's last socket ends; the
lease ends it when the backend could not. While a socket is open the leases are renewed.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg

from . import log, upkeep
from .defects import planted
from .problems import Problem
from .tenant_tx import Database

# As a claim does, a release locks allocations before resources.
RELEASE = """
WITH gone AS (
  DELETE FROM allocations WHERE tenant_id = $1 AND holder = ANY($2) RETURNING resource),
back AS (
  SELECT resource, count(*) AS units FROM gone GROUP BY resource)
UPDATE resources SET taken = greatest(taken - units, 0) FROM back
WHERE tenant_id = $1 AND name = resource
"""
RENEW = """
UPDATE allocations SET expires_at = now() + make_interval(secs => $3)
WHERE tenant_id = $1 AND holder = ANY($2)
"""
AGAIN_SECONDS, TRY_SECONDS = 0.25, 2.0
LATE_SECONDS = 1.0
"""By then the server has ended whatever a cancelled claim has left there."""


class Claims:
    """Who holds something, by tenant and session; gives back, and renews."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database, self.lease_seconds = database, lease_seconds
        self._holders: dict[str, set[str]] = {}
        self._uncertain: set[str] = set()
        self._releases: set[asyncio.Task[None]] = set()

    def expect(self, tenant: str, holder: str) -> None:
        """From now on the session may hold something."""
        self._holders.setdefault(tenant, set()).add(holder)

    def uncertain(self, holder: str) -> None:
        """Nobody knows what became of a claim of the session: its COMMIT may yet come through."""
        self._uncertain.add(holder)

    def release_later(self, tenant: str, holder: str) -> None:
        """The session has ended: give back what it held, as soon as Postgres lets us."""
        holders = self._holders.get(tenant, set())
        if holder not in holders or planted("claims_kept"):
            return
        gone = list(holders) if planted("release_of_others") else [holder]
        holders.remove(holder)
        if not holders:
            del self._holders[tenant]
        task = asyncio.ensure_future(self._released(tenant, gone))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def keep(self) -> None:
        """Renew the leases of open sessions, for ever."""
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            await upkeep.each(list(self._holders), self._renewed)

    async def settled(self) -> None:
        """Wait for what is being given back; the lease ends what takes longer."""
        if self._releases:
            await asyncio.wait(self._releases, timeout=TRY_SECONDS)

    async def _renewed(self, tenant: str) -> None:
        try:
            holders = list(self._holders.get(tenant, ()))
            await self._run(tenant, RENEW, holders, self.lease_seconds)
        except (Problem, asyncpg.PostgresError, TimeoutError) as error:
            log.line("lease_not_renewed", tenant=tenant, error=type(error).__name__)

    async def _released(self, tenant: str, holders: list[str]) -> None:
        until = time.monotonic() + self.lease_seconds
        while time.monotonic() < until:
            try:
                await self._run(tenant, RELEASE, holders)
            except (Problem, asyncpg.PostgresError, TimeoutError):
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if self._uncertain.isdisjoint(holders):
                return
            self._uncertain.difference_update(holders)
            await asyncio.sleep(LATE_SECONDS)
        log.line("lease_left_to_end", tenant=tenant)

    async def _run(self, tenant: str, statement: str, *values: object) -> None:
        until = asyncio.get_running_loop().time() + TRY_SECONDS
        async with asyncio.timeout_at(until):
            async with self._database.tenant_tx(tenant, until, writes=True) as tx:
                await tx.execute(statement, tenant, *values)
