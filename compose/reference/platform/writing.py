"""What a tenant tells: a key's value, a plain message, a new thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from . import log
from .defects import planted
from .memory import State
from .messages import Begin, Say, Write
from .once import once
from .pool import PlainConnection
from .problems import Problem

if TYPE_CHECKING:
    from .turn import Turn

INSERT = """
WITH row AS (
  INSERT INTO messages (tenant_id, id, thread_id, user_id, key, content)
  VALUES ($1, $2, $4, $5, $6, $7) ON CONFLICT (tenant_id, id) DO NOTHING RETURNING seq)
INSERT INTO outbox (tenant_id, message_id, kind, digest, value)
SELECT $1, $2, 'message', $3, seq FROM row RETURNING value
"""
BEGIN = """
WITH thread AS (
  INSERT INTO threads (tenant_id, id) VALUES ($1, $4) ON CONFLICT DO NOTHING)
INSERT INTO outbox (tenant_id, message_id, kind, digest, value)
VALUES ($1, $2, 'thread', $3, $4) ON CONFLICT DO NOTHING RETURNING value
"""


async def write(turn: Turn, action: Write, state: State) -> str | None:
    """Keep a value under its key: the row first, then what the agent remembers."""
    seq = await _inserted(turn, action.key, action.value)
    await _remembered(turn, state, action.key, action.value, seq)
    return seq if planted("global_sequence_ids") else None


async def say(turn: Turn, action: Say, state: State) -> None:
    """Keep a plain message."""
    content = turn.message.content
    seq = await _inserted(turn, None, content)
    await _remembered(turn, state, None, content, seq)


async def begin(turn: Turn, action: Begin, state: State) -> str:
    """Make the message's thread; it may be there already."""

    async def effect(tx: PlainConnection, key: str, digest: bytes) -> str | None:
        return await tx.fetchval(BEGIN, turn.tenant, key, digest, turn.message.thread_id)

    return await once(turn, effect, "duplicate_message")


async def _remembered(turn: Turn, state: State, key: str | None, value: str, seq: str) -> None:
    """Let the agent remember a row that is committed.

    A Redis that is away undoes nothing: the row is the truth, and reads take the newest of both.
    """
    remember = turn.rooms.states.remember
    try:
        await remember(
            turn.tenant, turn.user, state, key=key, value=value, seq=int(seq), until=turn.until
        )
    except Problem as problem:
        log.line("not_remembered", tenant=turn.tenant, reason=problem.code)


async def _inserted(turn: Turn, name: str | None, content: str) -> str:
    """The number of the row. Raises Problem `unknown_thread`, and what `once` raises."""
    thread = turn.message.thread_id

    async def effect(tx: PlainConnection, key: str, digest: bytes) -> str | None:
        return await tx.fetchval(INSERT, turn.tenant, key, digest, thread, turn.user, name, content)

    try:
        return await once(turn, effect, "duplicate_message")
    except asyncpg.ForeignKeyViolationError:
        raise Problem("unknown_thread") from None
