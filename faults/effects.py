"""What recorded traffic can tell about a fault: who was not answered any more, who waited longer.

Traffic is the witness because Toxiproxy counts a connection's bytes only when it ends, and because
a fault that nobody felt proves nothing about those who might have.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from lab.fault import Effect, Window
from lab.history import Op, Outcome

OPS_MIN = 10
"""Fewer operations than this say nothing about a cut."""

LOST_MIN = 5
"""One operation of twenty is lost by chance; so many more than before are not."""

SLOWER_MS_MIN = 10.0
"""A small latency doubles by chance; this much more does not come by itself."""


def starved(before: Window, during: Window, to: float = 0.5) -> Effect:
    """Confirmed when the share of answered operations fell to at most `to` of what it was.

    At least `LOST_MIN` have to be lost that would have been answered before. A system that answers
    without what was hit has not felt it, and nothing may be concluded.
    """
    calm, cut = answered(before.ops), answered(during.ops)
    how = f"{calm:.0%} -> {cut:.0%} of {len(during.ops)} operations answered"
    lost = round((calm - cut) * len(during.ops), 6)
    bit = len(during.ops) >= OPS_MIN and lost >= LOST_MIN and cut <= calm * to
    return Effect(bit, how, {"calm_answered_share": calm, "cut_answered_share": cut})


def slowed(before: Window, during: Window, by_ms: float | None = None) -> Effect:
    """Confirmed when the upper quartile of latencies grew by `by_ms`; without it, when it doubled.

    Not every operation meets every fault, so upper quartiles are compared: at least a quarter of
    the operations must have felt it. An observed value that has the name of a fault's field, as
    `delay_ms` here, is what was seen of what was asked.
    """
    calm, slow = quartile_ms(before.ops), quartile_ms(during.ops)
    asked = max(calm, SLOWER_MS_MIN) if by_ms is None else by_ms
    how = f"p75 of operations {calm:.1f} -> {slow:.1f} ms"
    bit = calm > 0 and slow - calm >= asked
    return Effect(bit, how, {"calm_p75_ms": calm, "slowed_p75_ms": slow, "delay_ms": slow - calm})


def either(first: Effect, second: Effect) -> Effect:
    """Confirmed when one of the two is; told is what both saw."""
    return Effect(
        first.bit or second.bit,
        f"{first.how}; {second.how}",
        {**first.observed, **second.observed},
    )


def answered(ops: Sequence[Op]) -> float:
    """The share of operations that were answered; 0 of 0 is 0."""
    return sum(op.outcome is Outcome.OK for op in ops) / len(ops) if ops else 0.0


def quartile_ms(ops: Sequence[Op]) -> float:
    """The upper quartile of the latencies of what was answered; 0 when nothing was."""
    times = sorted(op.latency_ms for op in ops if op.outcome is Outcome.OK)
    return median(times[len(times) // 2 :]) if times else 0.0
