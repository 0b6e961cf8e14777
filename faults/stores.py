"""What faults on stores share: their names inside, words that may stand in SQL, who felt them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from faults import marks
from faults.effects import either, slowed, starved
from lab.errors import UsageError
from lab.fault import Effect, Fault, Window
from lab.hands import Lab

OURS = "lab:"
"""What every name begins with under which a fault is held."""

_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")


STAY = "\\sleep 1800 s\n\\sleep 1800 s"
"""pgbench's words for a session that stays as it is; it counts microseconds in 32 bits."""

IN_TRANSACTION, THERE = "state = 'idle in transaction'", "state IS NOT NULL"
"""Conditions on pg_stat_activity."""


class _Kind(Protocol):
    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class HeldInPostgres:
    """A fault that is held inside the server under its own name."""

    kind: ClassVar[str]
    altered: ClassVar[Mapping[str, str]] = {}
    """The settings it alters, and to what."""

    @property
    def target(self) -> str:
        """The whole server, unless it is told otherwise."""
        return "postgres"

    async def heal(self, lab: Lab) -> None:
        """End the lab's own sessions, and with them all they hold; or put the setting back."""
        await lab.postgres.release(mark(self), self.altered)


def mark(fault: _Kind) -> str:
    """The name a fault is held under, as in `lab:lock_hold-1a2b3c4d`."""
    return f"{OURS}{marks.mark(cast(Fault, fault))}"


def table_name(kind: str, name: str, value: object) -> None:
    """Raise UsageError unless `value` is a table's plain name, with or without its schema."""
    if not isinstance(value, str) or not _TABLE.fullmatch(value):
        mend = "a table as in `orders` or `shop.orders`"
        raise UsageError(f"{name}={value!r} cannot be", where=kind, mend=mend)


def hampered(before: Window, during: Window) -> Effect:
    """Confirmed when operations took twice as long, or a twentieth of them was lost."""
    return either(slowed(before, during), starved(before, during, to=0.95))


def felt_by(
    tenant: str,
    before: Window,
    during: Window,
    judge: Callable[[Window, Window], Effect] = hampered,
) -> Effect:
    """What one tenant felt; what all others felt meanwhile is told beside it, as the control."""
    own = judge(_part(before, tenant, True), _part(during, tenant, True))
    others = judge(_part(before, tenant, False), _part(during, tenant, False))
    control = {f"others_{name}": value for name, value in others.observed.items()}
    how = f"{tenant}: {own.how}; all others: {others.how}"
    return Effect(own.bit, how, {**own.observed, **control})


def felt_alone(tenant: str, before: Window, during: Window) -> Effect:
    """Confirmed when this tenant was hampered and all others were not: the fault is its own."""
    effect = felt_by(tenant, before, during)
    others = hampered(_part(before, tenant, False), _part(during, tenant, False))
    return Effect(effect.bit and not others.bit, effect.how, effect.observed)


def grown(during: Window, names: Mapping[str, str], least: float = 1.0) -> Effect:
    """Confirmed when one of these counters grew by `least`; `names` says what each one counts."""
    seen = {name: during.counters.get(name, 0.0) for name in names}
    how = ", ".join(f"{seen[name]:g} {told}" for name, told in names.items())
    return Effect(any(value >= least for value in seen.values()), how, seen)


def _part(window: Window, tenant: str, its_own: bool) -> Window:
    ops = tuple(op for op in window.ops if (op.tenant == tenant) is its_own)
    return Window(window.seconds, ops, window.counters)
