"""A limited resource: never more units out than there are. `claims.py` gives them back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .defects import planted
from .memory import State
from .messages import Claim
from .once import once
from .pool import PlainConnection
from .problems import Problem

if TYPE_CHECKING:
    from .turn import Turn

# As a release does, a claim locks allocations before resources.
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
