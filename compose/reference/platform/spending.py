"""Credits: one statement debits and enters the ledger, or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .defects import planted
from .memory import State
from .messages import Spend
from .once import once
from .pool import PlainConnection

if TYPE_CHECKING:
    from .turn import Turn

SPEND = """
WITH entry AS (
  INSERT INTO credit_ledger (tenant_id, message_id, user_id, amount)
  VALUES ($1, $2, $4, -$5::bigint)
  ON CONFLICT (tenant_id, message_id) DO NOTHING RETURNING 1),
debit AS (
  UPDATE credits SET balance = {left}
  WHERE tenant_id = $1 AND user_id = $4 AND {enough} AND EXISTS (SELECT 1 FROM entry)
  RETURNING balance)
INSERT INTO outbox (tenant_id, message_id, kind, digest, value)
SELECT $1, $2, 'spend', $3, balance FROM debit RETURNING value
"""
SOUND = SPEND.format(left="balance - $5::bigint", enough="balance >= $5::bigint")

# What follows is planted.
BALANCE = "SELECT balance FROM credits WHERE tenant_id = $1 AND user_id = $2"
CHECKED_BEFORE = {
    "debit_read_modify_write": SPEND.format(left="$6::bigint", enough="true"),
    "overdraft_clamped": SPEND.format(
        left="greatest(balance - $5::bigint, 0)", enough="$6::bigint >= 0"
    ),
}


async def spend(turn: Turn, action: Spend, state: State) -> str:
    """Take credits; the balance that is left. Raises Problem `insufficient_credits`."""

    async def effect(tx: PlainConnection, key: str, digest: bytes) -> str | None:
        known = (turn.tenant, key, digest, turn.user, action.amount)
        for name, statement in CHECKED_BEFORE.items():
            if planted(name):
                left = await tx.fetchval(BALANCE, turn.tenant, turn.user) - action.amount
                return await tx.fetchval(statement, *known, left) if left >= 0 else None
        return await tx.fetchval(SOUND, *known)

    return await once(turn, effect, "insufficient_credits")
