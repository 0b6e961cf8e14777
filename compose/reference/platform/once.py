"""Doing what a message asks for once: however often it is sent, and whatever becomes of a COMMIT.

The outbox row, written with the effect, is the key: a repeated message finds it and gets the same
answer. A connection that is lost during COMMIT leaves the outcome unknown. Then the transaction is
tried again under the same key: if the first one was committed, the row is there; if it still runs,
the key makes the second wait for it; if it was undone, it is done now. So the retry is the look-up.
A refusal has no effect and is not kept: sent again, the message is judged anew.

Source of the key: IETF draft-ietf-httpapi-idempotency-key-header; the same key with another
request is an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from .defects import planted
from .pool import PlainConnection
from .problems import Problem

if TYPE_CHECKING:
    from .turn import Turn

Effect = Callable[[PlainConnection, str, bytes], Awaitable[str | None]]
"""Given a connection, the key and the digest: does the work and returns what the answer tells, from
the outbox; None when there was nothing to be done."""

DONE = "SELECT digest, value FROM outbox WHERE tenant_id = $1 AND message_id = $2"
CONTENTIONS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""The server has undone the transaction for another's sake: doing it again is safe."""
ATTEMPTS = 4
PAUSE_SECONDS, PAUSE_MAX_SECONDS = 0.02, 0.25
LAST_SECONDS = 0.05
"""No new attempt so close to the deadline."""


class _Nothing(Problem):
    """The effect changed nothing; `before` is what this message did earlier, if it did."""

    def __init__(self, code: str, before: asyncpg.Record | None) -> None:
        super().__init__(code)
        self.before = before


async def once(turn: Turn, effect: Effect, refusal: str) -> str:
    """The effect's value, or that of the first time.

    Raises Problem: `refusal` when nothing could be done, `duplicate_message` when the id belongs to
    another message; `contended` after too many deadlocks, and what `tenant_tx` raises, both of
    which are definite unless a COMMIT was lost and nothing could be learned of it in time.
    """
    key, in_doubt, contended = turn.message.metadata.message_id, False, 0
    for pause in _pauses():
        try:
            return await _tried(turn, effect, refusal, _key(key, repeated=in_doubt))
        except CONTENTIONS:
            contended += 1
            if contended == ATTEMPTS or planted("deadlock_not_retried"):
                raise Problem("contended", definite=not in_doubt) from None
        except Problem as problem:
            if problem.code in (refusal, "duplicate_message"):  # Postgres has looked, and says no
                raise
            in_doubt = in_doubt or not problem.definite
            if not in_doubt:
                raise
            if _left(turn) < pause + LAST_SECONDS:
                raise Problem(problem.code, definite=False) from None
        await asyncio.sleep(pause)
    raise AssertionError("pauses never end")


async def _tried(turn: Turn, effect: Effect, refusal: str, key: str) -> str:
    digest = digest_of(turn)
    try:
        async with turn.database.tenant_tx(turn.tenant, turn.until, writes=True) as tx:
            value = await effect(tx, key, digest)
            if value is None:  # raised inside, so that whatever was begun is undone
                raise _Nothing(refusal, await tx.fetchrow(DONE, turn.tenant, key))
    except _Nothing as nothing:
        if nothing.before is None:
            raise Problem(refusal) from None
        if nothing.before["digest"] != digest:
            raise Problem("duplicate_message") from None
        value = nothing.before["value"]
    except asyncpg.UniqueViolationError:
        raise Problem("duplicate_message") from None
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError):
        raise Problem("deadline") from None
    turn.rooms.relay.wake(turn.tenant)
    return value


def digest_of(turn: Turn) -> bytes:
    """What tells a repeated message from another (or another user's) of the same id; 16 bytes."""
    message = turn.message
    said = (message.metadata.action, message.content, message.thread_id)
    asked = msgspec.json.encode((turn.user, *said))
    return hashlib.blake2b(asked, digest_size=16).digest()


def _key(key: str, *, repeated: bool) -> str:
    if planted("message_key_ignored") or (repeated and planted("retry_without_key")):
        return secrets.token_hex(16)
    return key


def _pauses() -> Generator[float]:
    """Seconds between attempts: doubling, bounded, and jittered so that rivals part."""
    pause = PAUSE_SECONDS
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, PAUSE_MAX_SECONDS)


def _left(turn: Turn) -> float:
    return turn.until - asyncio.get_running_loop().time()
