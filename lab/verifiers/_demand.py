"""What a tenant was sold, and which of its operations asked for more, as `quota` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.history import Op, Outcome


@dataclass(frozen=True, slots=True)
class Limit:
    """What one cohort was sold, and how its demand is told from its operations.

    shape: `rate`: `cost` an operation, `amount` a second, `saved` at once; `count`: so many
    operations unfinished at a time; `size`: `cost` of one operation (any is too much in `phase`);
    `sockets`: open at once. phase: in which it asks for more. meter: the system's own count of it:
    for a rate what was charged, else a level that never passes `amount` (or `level`, if given).
    """

    cohort: str
    kind: str
    shape: Literal["rate", "count", "size", "sockets"]
    phase: str
    amount: float
    cost: float = 1.0
    saved: float = 0.0
    meter: str = ""
    level: float = 0.0


def over(ops: Sequence[Op], limit: Limit) -> Iterator[bool]:
    """For each operation, in the order sent, whether it asked for more than the limit has room for.

    A rate is a token bucket that starts full and may be overdrawn by one operation; a count is what
    was sent and not yet done.
    """
    level, at_ns = limit.saved, ops[0].sent_ns if ops else 0
    ends: list[int] = []
    for op in ops:
        if limit.shape == "rate":
            level = min(limit.saved, level + (op.sent_ns - at_ns) / 1e9 * limit.amount)
            at_ns, need = op.sent_ns, 1.0 if limit.kind == "requests" else 1e-9
            yield level < need
            level -= limit.cost if level >= need else 0.0
        else:
            ends = [end for end in ends if end > op.sent_ns]
            yield limit.shape == "size" or len(ends) >= limit.amount
            if op.outcome is Outcome.OK:
                ends.append(op.done_ns)
