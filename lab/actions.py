"""The lab's few abstract actions: what a tenant can do, on any system, told without its protocol.

A driver says which of these its system can do (`Driver.actions`) and turns each into requests.
Experiments are written in these only, so that they run on every system that has the actions.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Write:
    """Store `value` under the tenant's own `key`."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Read:
    """Read back the tenant's own `key`."""

    key: str


@dataclass(frozen=True, slots=True)
class List:
    """List everything the tenant can see."""


@dataclass(frozen=True, slots=True)
class Work:
    """Ask for work of a `kind` (`query`, `cpu`, ...) that would take `amount_ms` on its own."""

    kind: str
    amount_ms: int


@dataclass(frozen=True, slots=True)
class Spend:
    """Take `amount` from the tenant's credits, once."""

    amount: int


@dataclass(frozen=True, slots=True)
class Edit:
    """Change the configuration `name`, expecting it to be at `version`."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim one unit of a limited `resource`."""

    resource: str


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes as they are, valid or not."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Abandon:
    """Start `action`, then drop the connection without a word after `after_ms`.

    No driver sees this: the tenant client performs the inner action and aborts the session.
    """

    action: Write | Read | List | Work
    after_ms: float


Action = Write | Read | List | Work | Spend | Edit | Claim | Raw
"""What a driver may be asked to perform."""

Step = Action | Abandon
"""What a behaviour may yield."""


def name_of(step: Step) -> str:
    """The name in events and reports, as in `write`; an abandoned action keeps its own name."""
    return type(step.action if isinstance(step, Abandon) else step).__name__.lower()
