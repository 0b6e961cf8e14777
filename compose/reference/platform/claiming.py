"""A limited resource: never more units out than there are, and none kept by who has gone.

A claim belongs to the session it came from. It is given back when that one's last socket ends; the
lease ends it when the backend could not. While a socket is open the leases are renewed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg

from . import log, upkeep
from .defects import planted
from .memory import State
from .messages import Claim
from .once import once
from .pool import PlainConnection
from .problems import Problem
from .tenant_tx import Database

if TYPE_CHECKING:
    from .turn import Turn

# Claims and releases lock allocations before resources, both of them.
CLAIM = """
WITH ended AS (
  DELETE FROM allocations WHERE tenant_id = $1 AND resource = $4 AND expires_at < now()
  RETURNING 1),
room AS (
  UPDATE resources SET taken = taken + 1 - (SELECT count(*) FROM ended), fence = fence + 1
  WHERE tenant_id = $1 AND name = $4 AND taken - (SELECT count(*) FROM ended) < capacity
  RETURNING fence),
claimed AS (
  INSERT INTO allocations (tenant_id, message_id, resource, holder, expires_at)
  SELECT $1, $2, $4, $5, now() + make_interval(secs => $6) FROM room
  ON CONFLICT (tenant_id, message_id) DO NOTHING RETURNING 1)
INSERT INTO outbox (tenant_id, message_id, kind, digest, value)
SELECT $1, $2, 'claim', $3, fence FROM room, claimed RETURNING value
"""
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

# What follows is planted.
GLOBAL_LOCK = "SELECT pg_advisory_xact_lock(hashtext($1))"
HAS_ROOM = """
SELECT count(allocations) < capacity FROM resources
LEFT JOIN allocations ON allocations.tenant_id = $1 AND resource = name AND expires_at >= now()
WHERE resources.tenant_id = $1 AND name = $2 GROUP BY capacity
"""
CLAIM_UNCOUNTED = """
WITH claimed AS (
  INSERT INTO allocations (tenant_id, message_id, resource, holder, expires_at)
  VALUES ($1, $2, $4, $5, now() + make_interval(secs => $6)) RETURNING 1)
INSERT INTO outbox (tenant_id, message_id, kind, digest, value)
SELECT $1, $2, 'claim', $3, '0' FROM claimed RETURNING value
"""
FOR_EVER_SECONDS = 1e9


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


async def claim(turn: Turn, action: Claim, state: State) -> str:
    """One unit for this session; its fencing number, which only grows.

    Raises Problem `resource_exhausted`, also for one that there is not.
    """
    claims = turn.rooms.claims
    claims.expect(turn.tenant, turn.holder)
    lease_seconds = FOR_EVER_SECONDS if planted("lease_without_end") else claims.lease_seconds

    async def effect(tx: PlainConnection, key: str, digest: bytes) -> str | None:
        known = (turn.tenant, key, digest, action.resource, turn.holder, lease_seconds)
        if planted("global_lock_name"):
            await tx.execute(GLOBAL_LOCK, action.resource)
        if planted("over_allocation"):
            room = await tx.fetchval(HAS_ROOM, turn.tenant, action.resource)
            return await tx.fetchval(CLAIM_UNCOUNTED, *known) if room else None
        return await tx.fetchval(CLAIM, *known)

    try:
        return await once(turn, effect, "resource_exhausted")
    except asyncio.CancelledError:
        claims.uncertain(turn.holder)
        raise
    except Problem as problem:
        if not problem.definite:
            claims.uncertain(turn.holder)
        raise
