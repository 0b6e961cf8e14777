"""Agent configurations: compare-and-set on the version, and a look at whether it was set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .defects import planted
from .memory import State
from .messages import Edit
from .once import once
from .pool import PlainConnection

if TYPE_CHECKING:
    from .turn import Turn

EDIT = """
WITH edited AS (
  UPDATE agent_configurations
  SET version = {next}, updated_at = now(), document = jsonb_build_object('edited_by', $2::text)
  WHERE tenant_id = $1 AND name = $4 AND version = $5 RETURNING version)
INSERT INTO outbox (tenant_id, message_id, kind, digest, value)
SELECT $1, $2, 'edit', $3, version FROM edited RETURNING value
"""
SOUND = EDIT.format(next="version + 1")
KEPT = EDIT.format(next="version")


async def edit(turn: Turn, action: Edit, state: State) -> str:
    """Set the configuration; its new version. Raises Problem `version_conflict`.

    A conflict is the client's to resolve, who alone knows what to do with the newer version.
    """

    async def effect(tx: PlainConnection, key: str, digest: bytes) -> str | None:
        statement = KEPT if planted("edit_version_kept") else SOUND
        version = await tx.fetchval(
            statement, turn.tenant, key, digest, action.name, action.version
        )
        return str(action.version + 1) if planted("edit_rowcount_ignored") else version

    return await once(turn, effect, "version_conflict")
