"""Neighbours keep their p95 under attack: the paired judge, the worst tenant, a long attack.

The paired blocks decide the margin; what builds up too slowly for them shows in the sustained
attack, which is compared with the calm before and after it and can only claim large effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from lab.history import History, Op
from lab.stats.paired import Judgement, PairedBlocks, Ratio, compare, judge, sham
from lab.stats.series import group_quantiles, quantile_of, series
from lab.stats.worst import TenantRatio, worst_tenant
from lab.verdict import Status, Verdict
from lab.verifiers._reading import Claim, Span, lab_did_it, ok_share, span, stalls, tenants_of

SLOWER = 1.5  # more than this in the long attack is nothing to call HELD, nor proof of a violation
LAGGING = 0.9  # on-blocks this much *faster* than off-blocks: the harm comes late, into those
TENANT_REQUESTS_MIN = 20  # of one tenant in a phase, before its own share of answers is judged
LARGE = 2.0  # a before/after comparison claims no smaller ratio: see lab/stats/paired.py for why
LARGE_SHARE = 1 / 3  # of the attack's seconds; a stall of the host is shorter, a real effect is not
SUSTAINED_REQUESTS_MIN = 200  # per phase: 10 above the p95
CALM_OK_SHARE, ATTACKED_OK_SHARE = 0.99, 0.95
COLLAPSED_OK_SHARE = 0.5
"""Neighbours who are answered less than this under attack were calm before: whether calm comes back
afterwards does not matter any more. A flood leaves a queue that can outlast the watch."""
SHOWN_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one of the three questions came to."""

    status: Status
    reason: str
    measured: dict[str, float]
    exposures: dict[str, int]


def neighbours_keep_their_p95(
    design: PairedBlocks,
    *,
    phase: str = "attack",
    of: str = "quiet",
    sustained: tuple[str, str, str] | None = None,
) -> Callable[[History], Verdict]:
    """The p95 of the cohort `of` grows by less than the design's margin while `phase` attacks.

    Three questions, the worst answer counts: the cohort pooled, in paired blocks; every tenant by
    itself (Holm; only a violation counts, for single tenants often have too few requests); and,
    with `sustained` = (before, attack, after), whether a long attack doubles the p95 or takes away
    the answers. Everything but OK is infinitely slow; what the lab cut off itself is left out.
    The p50, p90 and p99 ratios and the sham (the phase before, no attack) are shown, not judged.
    """
    claim = Claim(
        "latency", f"the p95 of {of} grows by less than {design.margin:.0%}", ("R5", "R4", "N8")
    )

    def check(history: History) -> Verdict:
        """The neighbours' p95 stays within the margin."""
        stretch = span(history, phase)
        if stretch is None:
            return claim.unknown(f"the run never got through {phase!r}")
        ops = [op for op in history.during(phase, cohort=of) if not lab_did_it(op)]
        calm = sustained[0] if sustained else "baseline"
        judgement, paired = _paired(design, history, ops, stretch)
        parts = [paired, _worst(design, history, ops, stretch, judgement.look)]
        if sustained:
            parts.append(_sustained(history, of, sustained))
        status = max((p.status for p in parts), key=lambda s: s.badness)
        shown = _sham(design, history, calm, of)
        parts.append(_power(judgement.ratio, shown))
        for part in parts:
            shown |= part.measured
        return claim.is_(
            status,
            "; ".join(p.reason for p in parts if p.reason),
            measured=shown,
            exposures={k: v for part in parts for k, v in part.exposures.items()},
            evidence=(p.reason for p in parts[:-1] if p.status is status and p.reason),
        )

    return check


def _void(history: History, stretch: Span) -> tuple[tuple[float, float], ...]:
    """The host's stalls, in seconds since the stretch's start."""
    return tuple(
        ((s.start_ns - stretch.start_ns) / 1e9, (s.end_ns - stretch.start_ns) / 1e9)
        for s in stalls(history)
    )


def _paired(
    design: PairedBlocks, history: History, ops: Sequence[Op], stretch: Span
) -> tuple[Judgement, _Part]:
    seed, void = history.opened.seed, _void(history, stretch)
    due, latency = series(ops, since_ns=stretch.start_ns)
    pairs = design.pairs_within(stretch.seconds)
    found = judge(design, seed, due, latency, pairs_available=pairs, void=void)
    ratio = found.ratio
    shown = {
        f"p{q * 100:g}_ratio": compare(
            design, seed, due, latency, pairs=found.look, void=void, quantile=q
        ).estimate
        for q in SHOWN_QUANTILES
        if found.look
    }
    measured = _named("ratio", ratio) | shown
    exposures = {"pairs": ratio.pairs, "pairs_void": ratio.void, "requests": len(ops)}
    if found.look == 0:
        reason = f"{pairs} pairs are complete, the first look needs {design.looks[0]}"
    else:
        reason = f"p95 ratio {_told(ratio)} after {found.look} pairs"
        if found.status is Status.HELD and ratio.upper < LAGGING:
            reason += ": the harm lags behind the flood, which pairs cannot judge"
            return found, _Part(Status.UNKNOWN, reason, measured, exposures)
        if found.status is Status.UNKNOWN and ratio.void:
            reason += f", {ratio.void} of them void"
    return found, _Part(found.status, reason, measured, exposures)


def _worst(
    design: PairedBlocks, history: History, ops: Sequence[Op], stretch: Span, look: int
) -> _Part:
    """Each tenant by itself. HELD here means no tenant is known to be worse, no more than that."""
    by_tenant = {
        name: series(own, since_ns=stretch.start_ns) for name, own in tenants_of(ops).items()
    }
    found: tuple[TenantRatio, ...] = ()
    if look:
        void = _void(history, stretch)
        found = worst_tenant(design, history.opened.seed, by_tenant, pairs=look, void=void)
    exposures = {"tenants": len(by_tenant), "tenants_judged": len(found)}
    slower = [f"{t.tenant} {_told(t.ratio)}" for t in found if t.slower]
    measured = {"worst_tenant_ratio": found[0].ratio.estimate} if found else {}
    if slower:
        return _Part(Status.VIOLATED, f"too slow: {', '.join(slower)}", measured, exposures)
    return _Part(Status.HELD, "", measured, exposures)


def _sustained(history: History, of: str, phases: tuple[str, str, str]) -> _Part:
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
        return _Part(Status.UNKNOWN, reason, {}, exposures)
    p95 = [quantile_of(series(part, since_ns=0)[1], 0.95) for part in ops]
    ok = [ok_share(part) for part in ops]
    calm = max(p95[0], p95[2])
    collapsed = ok[0] >= CALM_OK_SHARE and ok[1] < COLLAPSED_OK_SHARE
    measured = {
        "sustained_p95_ms": p95[1],
        "before_p95_ms": p95[0],
        "after_p95_ms": p95[2],
        "sustained_ok_share": ok[1],
    }
    if collapsed:
        told = f"{ok[0]:.1%} answered before, {ok[1]:.1%} under attack, {ok[2]:.1%} after it"
        return _Part(Status.VIOLATED, told, measured, exposures)
    if min(ok[0], ok[2]) < CALM_OK_SHARE or not isfinite(calm):
        reason = f"calm around {phases[1]!r} was not steady: {min(ok[0], ok[2]):.1%} answered"
        return _Part(Status.UNKNOWN, reason, measured, exposures)
    measured["sustained_ratio"] = p95[1] / calm
    told = f"sustained p95 {p95[1] / calm:.2f} times the calm one, {ok[1]:.1%} answered"
    if ok[1] < ATTACKED_OK_SHARE:
        return _Part(Status.VIOLATED, told, measured, exposures)
    if starved := _starved(ops[0], ops[1]):
        return _Part(Status.VIOLATED, f"{told}; hardly answered: {starved}", measured, exposures)
    # Against the better of the two calms: an attack whose harm outlasts it spoils the one after it.
    if p95[1] <= SLOWER * min(p95[0], p95[2]):
        return _Part(Status.HELD, told, measured, exposures)
    if p95[1] <= LARGE * calm:
        told = f"{p95[0]:.0f} ms p95 before, {p95[1]:.0f} under attack, {p95[2]:.0f} after it"
        return _Part(Status.UNKNOWN, told, measured, exposures)
    share = _slow_seconds(ops[1], attack, LARGE * calm)
    measured["sustained_slow_seconds_share"] = share
    status = Status.VIOLATED if share >= LARGE_SHARE else Status.UNKNOWN
    return _Part(status, f"{told}, slow in {share:.0%} of its seconds", measured, exposures)


def _power(ratio: Ratio, shown: Mapping[str, float]) -> _Part:
    """What this run could have seen at all; decides nothing."""
    if not isfinite(ratio.detectable):
        return _Part(Status.HELD, "", {}, {})
    told = f"it could tell {ratio.detectable - 1:+.1%} from none"
    if isfinite(sham := shown.get("sham_p95_ratio", inf)):
        told += f"; with nobody attacking the ratio reads {sham:.3g}"
    return _Part(Status.HELD, told, {}, {})


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


def _sham(design: PairedBlocks, history: History, phase: str, of: str) -> dict[str, float]:
    """The judge's answer where nobody attacked; its true ratio is 1."""
    stretch = span(history, phase)
    if stretch is None or design.pairs_within(stretch.seconds) == 0:
        return {}
    ops = [op for op in history.during(phase, cohort=of) if not lab_did_it(op)]
    due, latency = series(ops, since_ns=stretch.start_ns)
    void = _void(history, stretch)
    ratio = sham(design, history.opened.seed, due, latency, seconds=stretch.seconds, void=void)
    return {f"sham_{name}": value for name, value in _named("ratio", ratio).items()} | {
        "sham_pairs": ratio.pairs
    }


def _named(name: str, ratio: Ratio) -> dict[str, float]:
    return {
        f"p95_{name}": ratio.estimate,
        f"{name}_lower": ratio.lower,
        f"{name}_upper": ratio.upper,
        "sd_ln": ratio.sd_ln,
        "requests_per_block": ratio.requests_median,
        "detectable_ratio": ratio.detectable,
        "seconds_to_detect_margin": ratio.seconds_to_detect_margin,
    }


def _told(ratio: Ratio) -> str:
    return f"{ratio.estimate:.3g} [{ratio.lower:.3g}, {ratio.upper:.3g}]"
