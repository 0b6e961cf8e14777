"""The blast radius of a fault: whom it may hit, and that nobody else felt it. Pure.

A fault on a part of a link, as `client@noisy` is the entrance of the cohort `noisy`, says that it
hits this cohort alone. Then only that cohort's traffic can confirm it, and the others are its
control group: a fault that they show as well was not where it was said to be, or the system let it
through, and nothing may be concluded from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

from lab.fault import Effect, Fault, Window


@runtime_checkable
class OnLink(Protocol):
    """A fault on a link, or on a part of one."""

    @property
    def link(self) -> str:
        """As in `redis`, `redis@app` or `client@noisy`."""
        ...


def cohort_of(fault: Fault, cohorts: Collection[str]) -> str:
    """The one cohort that the fault may hit; empty when it may hit all."""
    part = fault.link.partition("@")[2] if isinstance(fault, OnLink) else ""
    return part if part in cohorts else ""


def judged(fault: Fault, before: Window, during: Window) -> Effect:
    """What the fault says of those it may hit, if those it may not hit show nothing of it."""
    cohorts = {op.cohort for window in (before, during) for op in window.ops}
    hit = cohort_of(fault, cohorts)
    others = cohorts - {hit}
    if not hit or not others:
        return fault.effect(before, during)
    effect = fault.effect(_of(before, {hit}), _of(during, {hit}))
    control = fault.effect(_of(before, others, {}), _of(during, others, {}))
    told = f"{effect.how}; control {', '.join(sorted(others))}: {control.how}"
    observed = {**effect.observed, **{f"control_{k}": v for k, v in control.observed.items()}}
    return Effect(effect.bit and not control.bit, told, observed)


def _of(
    window: Window, cohorts: Collection[str], counters: Mapping[str, float] | None = None
) -> Window:
    """What these cohorts saw; the fault's own counters are those of whom it hit."""
    ops = tuple(op for op in window.ops if op.cohort in cohorts)
    return replace(window, ops=ops, counters=window.counters if counters is None else counters)
