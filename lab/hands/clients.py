"""A tenant's own side: what its clients do to the system when they misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

What = Literal["flood", "cancel", "hang_up", "reconnect", "deaf", "garbage", "poison"]
"""flood: actions, as many as asked. cancel: work that is started and abandoned at once. hang_up:
all connections reset, with work in flight. reconnect: connected, and gone again. deaf: actions
whose answers nobody reads. garbage: random bytes on an open connection. poison: well-formed actions
whose content is hostile."""

CONNECTIONS_MAX, PER_SECOND_MAX = 200, 1000.0
"""No misbehaviour has more: it shares this process with what measures."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How one tenant misbehaves, and how much.

    tenant: its logical name; per_second: beats of `what`, spread over the connections; action: what
    is asked for, where it asks; amount_ms: of work; seed: of everything that is drawn.
    """

    what: What
    tenant: str
    per_second: float
    connections: int = 1
    action: Literal["work", "read", "write"] = "work"
    amount_ms: int = 50
    seed: int = 0


class Clients(Protocol):
    """Sessions that the lab opens for a tenant beside the load's own, and what it does on them.

    It goes on in the background under a name until it is ended, and ends with the lab.
    """

    async def begin(self, name: str, manner: Manner) -> None:
        """Start to misbehave; returns when every connection is open, or was not let in.

        Raises UsageError where nobody has tenants, or the system lacks the action.
        """
        ...

    async def end(self, name: str) -> None:
        """Stop it and drop its connections; nothing of this name is fine."""
        ...

    async def counts(self, name: str) -> Mapping[str, float]:
        """What it did so far: `sent`, `answered`, `refused`, `lost`, `connected`, `dropped`."""
        ...

    async def revoke(self, tenant: str) -> None:
        """Make every token of the tenant worthless. Raises UsageError where the driver cannot."""
        ...
