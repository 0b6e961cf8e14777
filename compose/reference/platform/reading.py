"""What a tenant asks to see: a key, its latest messages, a conversation, a report of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import msgspec

from .defects import planted
from .memory import State
from .messages import History, List, Read, Report
from .pool import PlainConnection

if TYPE_CHECKING:
    from .turn import Turn

LATEST = """
SELECT seq, content FROM messages WHERE tenant_id = $1 AND key = $2 ORDER BY seq DESC LIMIT 1
"""
LIST = """
SELECT key, content FROM recent_messages WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 20
"""
HISTORY = """
SELECT id, content FROM recent_messages
WHERE tenant_id = $1 AND thread_id = $2 ORDER BY seq DESC LIMIT 20
"""
REPORT = """
SELECT json_build_object(
  'messages', (SELECT count(*) FROM messages WHERE tenant_id = $1),
  'threads', (SELECT count(*) FROM threads WHERE tenant_id = $1),
  'credits', (SELECT sum(balance) FROM credits WHERE tenant_id = $1),
  'claims', (SELECT count(*) FROM allocations WHERE tenant_id = $1 AND expires_at > now()),
  'usage', (SELECT json_object_agg(kind, count) FROM usage WHERE tenant_id = $1),
  'accepted', $2::bigint)::text
"""

# What follows is planted.
LIST_TRUSTING = "SELECT key, content FROM recent_messages ORDER BY seq DESC LIMIT 20"
"""The same list by somebody who leaves the tenant to row security alone."""
TRUSTED = (
    "app_bypasses_rls", "definer_function", "owner_without_force", "permissive_policy",
    "policy_escape", "session_tenant", "table_without_rls", "view_with_owner_rights",
)  # fmt: skip
SCRATCH = (
    "CREATE TEMP TABLE IF NOT EXISTS page (key text, content text, seq bigint)",
    "INSERT INTO page SELECT key, content, seq FROM messages WHERE tenant_id = $1",
)
SCRATCH_LIST = "SELECT DISTINCT key, content, seq FROM page ORDER BY seq DESC LIMIT 20"


async def read(turn: Turn, action: Read, state: State) -> str | None:
    """The newest value of a key, of what the agent remembers and what the table has."""
    async with turn.database.tenant_tx(turn.tenant, turn.until) as tx:
        row = await tx.fetchrow(LATEST, turn.tenant, action.key)
    held = state.memory.get(action.key)
    newest = max(filter(None, (held, (row[0], row[1]) if row else None)), default=None)
    return newest[1] if newest else None


async def listed(turn: Turn, action: List, state: State) -> str:
    """The tenant's latest messages as JSON, `[[key, content], ...]`, the newest first."""
    async with turn.database.tenant_tx(turn.tenant, turn.until) as tx:
        rows = await _list(tx, turn.tenant)
    return _pairs(rows)


async def history(turn: Turn, action: History, state: State) -> str:
    """The latest messages of the message's own thread, `[[id, content], ...]`, the newest first."""
    async with turn.database.tenant_tx(turn.tenant, turn.until) as tx:
        rows = await tx.fetch(HISTORY, turn.tenant, turn.message.thread_id)
    return _pairs(rows)


async def report(turn: Turn, action: Report, state: State) -> str:
    """What the tenant has, in numbers, as JSON: all of them its own."""
    accepted = turn.tally.accepted
    if planted("count_of_all"):
        accepted = sum(tally.accepted for tally in turn.rooms.admission.tallies.values())
    async with turn.database.tenant_tx(turn.tenant, turn.until) as tx:
        return await tx.fetchval(REPORT, turn.tenant, accepted)


async def _list(tx: PlainConnection, tenant: str) -> list[asyncpg.Record]:
    if any(planted(name) for name in TRUSTED):
        return await tx.fetch(LIST_TRUSTING)
    if planted("scratch_table"):
        await tx.execute(SCRATCH[0])
        await tx.execute(SCRATCH[1], tenant)
        return await tx.fetch(SCRATCH_LIST)
    return await tx.fetch(LIST, tenant)


def _pairs(rows: list[asyncpg.Record]) -> str:
    return msgspec.json.encode([[row[0], row[1]] for row in rows]).decode()
