"""The long attack between two calms: large effects only, for what pairs of blocks cannot see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from lab.history import History, Op
from lab.stats.host import host_of
from lab.stats.series import group_quantiles, quantile_of, series
from lab.verdict import Status
from lab.verifiers._fitness import unfit
from lab.verifiers._reading import Span, lab_did_it, ok_share, span, tenants_of

SLOWER = 1.5  # more than this in the long attack is nothing to call HELD, nor proof of a violation
TENANT_REQUESTS_MIN = 20  # of one tenant in a phase, before its own share of answers is judged
LARGE = 2.0  # a before/after comparison claims no smaller ratio: see lab/stats/paired.py for why
LARGE_SHARE = 1 / 3  # of the attack's seconds; a stall of the host is shorter, a real effect is not
SUSTAINED_REQUESTS_MIN = 200  # per phase: 10 above the p95
CALM_OK_SHARE, ATTACKED_OK_SHARE = 0.99, 0.95
COLLAPSED_OK_SHARE = 0.5
"""Neighbours who are answered less than this under attack were calm before: whether calm comes back
afterwards does not matter any more. A flood leaves a queue that can outlast the watch."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one of the verifier's questions came to."""

    status: Status
    reason: str
    measured: dict[str, float]
    exposures: dict[str, int]


def sustained(history: History, of: str, phases: tuple[str, str, str]) -> Part:
    """Before, attack, after: violated when the attack doubles the p95 or takes away the answers."""
    ops = [
        [op for op in history.during(phase, cohort=of) if not lab_did_it(op)] for phase in phases
    ]
    ops[2] = _second_half(ops[2], span(history, phases[2]))
    exposures = {"requests_sustained": len(ops[1])}
    attack = span(history, phases[1])
    fewest = min(len(part) for part in ops)
    if attack is None or fewest < SUSTAINED_REQUESTS_MIN:
        reason = f"{fewest} requests around {phases[1]!r}, {SUSTAINED_REQUESTS_MIN} needed in each"
        return Part(Status.UNKNOWN, reason, {}, exposures)
    p95 = [quantile_of(series(part, since_ns=0)[1], 0.95) for part in ops]
    ok = [ok_share(part) for part in ops]
    measured = {
        "sustained_p95_ms": p95[1],
        "before_p95_ms": p95[0],
        "after_p95_ms": p95[2],
        "sustained_ok_share": ok[1],
    }
    if ok[0] >= CALM_OK_SHARE and ok[1] < COLLAPSED_OK_SHARE:  # no host is so noisy
        told = f"{ok[0]:.1%} answered before, {ok[1]:.1%} under attack, {ok[2]:.1%} after it"
        return Part(Status.VIOLATED, told, measured, exposures)
    host = host_of(history.events, since_ns=attack.start_ns)
    if why := unfit(ops[1], host, attack.seconds):
        return Part(Status.UNKNOWN, f"{phases[1]}: {why}", measured, exposures)
    if min(ok[0], ok[2]) < CALM_OK_SHARE or not isfinite(max(p95[0], p95[2])):
        reason = f"calm around {phases[1]!r} was not steady: {min(ok[0], ok[2]):.1%} answered"
        return Part(Status.UNKNOWN, reason, measured, exposures)
    starved = _starved(ops[0], ops[1])
    return _slowed(p95, ok[1], starved, (ops[1], attack), measured, exposures)


def _slowed(
    p95: Sequence[float],
    answered: float,
    starved: str,
    attacked: tuple[Sequence[Op], Span],
    measured: dict[str, float],
    exposures: dict[str, int],
) -> Part:
    """The attack's own numbers, now that calm and host are known to be fine."""
    calm = max(p95[0], p95[2])
    measured["sustained_ratio"] = p95[1] / calm
    told = f"sustained p95 {p95[1] / calm:.2f} times the calm one, {answered:.1%} answered"
    if answered < ATTACKED_OK_SHARE:
        return Part(Status.VIOLATED, told, measured, exposures)
    if starved:
        return Part(Status.VIOLATED, f"{told}; hardly answered: {starved}", measured, exposures)
    # Against the better of the two calms: an attack whose harm outlasts it spoils the one after it.
    if p95[1] <= SLOWER * min(p95[0], p95[2]):
        return Part(Status.HELD, told, measured, exposures)
    if p95[1] <= LARGE * calm:
        told = f"{p95[0]:.0f} ms p95 before, {p95[1]:.0f} under attack, {p95[2]:.0f} after it"
        return Part(Status.UNKNOWN, told, measured, exposures)
    share = _slow_seconds(*attacked, LARGE * calm)
    measured["sustained_slow_seconds_share"] = share
    status = Status.VIOLATED if share >= LARGE_SHARE else Status.UNKNOWN
    return Part(status, f"{told}, slow in {share:.0%} of its seconds", measured, exposures)


def _second_half(ops: list[Op], stretch: Span | None) -> list[Op]:
    """The calm after an attack, without what the attack left in the queues."""
    if stretch is None:
        return []
    middle_ns = (stretch.start_ns + stretch.end_ns) // 2
    return [op for op in ops if op.due_ns >= middle_ns]


def _starved(before: Sequence[Op], attacked: Sequence[Op]) -> str:
    """Single tenants that were answered before and are not now; pooling would hide them."""
    calm, now = tenants_of(before), tenants_of(attacked)
    shares = {
        name: ok_share(own)
        for name, own in now.items()
        if len(own) >= TENANT_REQUESTS_MIN and ok_share(calm.get(name, ())) >= CALM_OK_SHARE
    }
    return ", ".join(f"{n} {s:.0%}" for n, s in shares.items() if s < ATTACKED_OK_SHARE)


def _slow_seconds(ops: Sequence[Op], stretch: Span, limit_ms: float) -> float:
    """The share of the stretch's seconds whose own p95 is beyond the limit."""
    due, latency = series(ops, since_ns=stretch.start_ns)
    second = np.maximum(np.floor(due), 0).astype(np.int64)
    p95, sizes = group_quantiles(second, latency, count=int(second.max()) + 1, quantile=0.95)
    return float(np.mean(p95[sizes > 0] > limit_ms))
