"""What became of a message that nobody answered; the client asks by its id, after a lost socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .memory import State
from .messages import Outcome

if TYPE_CHECKING:
    from .turn import Turn

# A message that is still being committed makes this wait: the key is unique.
VOID = """
INSERT INTO outbox (tenant_id, message_id, kind, digest, value, relayed_at)
VALUES ($1, $2, 'void', '', '', now()) ON CONFLICT (tenant_id, message_id) DO NOTHING
"""
KIND = "SELECT kind FROM outbox WHERE tenant_id = $1 AND message_id = $2"


async def outcome(turn: Turn, action: Outcome, state: State) -> str:
    """`done`, or `absent`: then the id is void, and nothing late can be done under it any more."""
    async with turn.database.tenant_tx(turn.tenant, turn.until, writes=True) as tx:
        await tx.execute(VOID, turn.tenant, action.of)
        kind = await tx.fetchval(KIND, turn.tenant, action.of)
    return "absent" if kind == "void" else "done"
