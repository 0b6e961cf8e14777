"""Neighbours keep their p95 under attack: the paired judge, the worst tenant, a long attack.

The paired blocks decide the margin; what builds up too slowly for them shows in the sustained
attack, which is compared with the calm before and after it and can only claim large effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import TypedDict

import numpy as np

from lab.history import History, Op
from lab.stats.design import PairedBlocks
from lab.stats.host import CROWDED_CORES, Host, host_of
from lab.stats.paired import (
    VOID_SHARE_MAX,
    Control,
    Judgement,
    Ratio,
    compare,
    judge,
    sham,
)
from lab.stats.series import series
from lab.stats.worst import TenantRatio, worst_tenant
from lab.verdict import Status, Verdict
from lab.verifiers._fitness import late, stolen
from lab.verifiers._reading import Claim, Span, lab_did_it, span, tenants_of
from lab.verifiers._sustained import Part
from lab.verifiers._sustained import sustained as _sustained

LAGGING = 0.9  # on-blocks this much *faster* than off-blocks: the harm comes late, into those
SHOWN_QUANTILES = (0.5, 0.9, 0.99)


def neighbours_keep_their_p95(
    design: PairedBlocks,
    *,
    phase: str = "attack",
    of: str = "quiet",
    control: str = "",
    sustained: tuple[str, str, str] | None = None,
) -> Callable[[History], Verdict]:
    """The p95 of the cohort `of` grows by less than the design's margin while `phase` attacks.

    Three questions, the worst answer counts: the cohort pooled, in paired blocks; every tenant by
    itself (Holm; only a violation counts, for single tenants often have too few requests); and,
    with `sustained` = (before, attack, after), whether a long attack doubles the p95 or takes away
    the answers. Everything but OK is infinitely slow; what the lab cut off itself is left out.
    The first two share `design.alpha`. A late generator or an unfit host makes an answer UNKNOWN.
    control: a cohort that the aggressor cannot reach, such as one on another stack: what slows it
    in the same blocks is taken for the host's doing (difference in differences).
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
        attack = _Attack(design, history, phase, of, control, stretch)
        judgement, paired = _paired(attack)
        parts = [paired, _worst(attack, judgement.look)]
        if why := attack.unfit(judgement):
            parts = [replace(paired, status=Status.UNKNOWN, reason=f"{paired.reason}; {why}")]
        if sustained:
            parts.append(_sustained(history, of, sustained))
        status = max((p.status for p in parts), key=lambda s: s.badness)
        shown = _sham(design, history, sustained[0] if sustained else "baseline", of)
        parts.append(_power(design, judgement.ratio, shown))
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


class _Given(TypedDict):
    """What the judge is told besides the neighbours' own latency."""

    host: Host
    control: Control | None


@dataclass(frozen=True)
class _Attack:
    """The paired phase of one history."""

    design: PairedBlocks
    history: History
    phase: str
    of: str
    control: str
    stretch: Span

    @property
    def seed(self) -> int:
        """Of the coins."""
        return self.history.opened.seed

    @property
    def host(self) -> Host:
        """What else went on."""
        return host_of(self.history.events, since_ns=self.stretch.start_ns)

    def ops(self, cohort: str) -> list[Op]:
        """A cohort's operations, without those that the lab cut off itself."""
        during = self.history.during(self.phase, cohort=cohort)
        return [op for op in during if not lab_did_it(op)]

    def controlled(self) -> Control | None:
        """The control cohort, where there is one."""
        if not self.control:
            return None
        return Control(*series(self.ops(self.control), since_ns=self.stretch.start_ns))

    def unfit(self, found: Judgement) -> str:
        """Why neither HELD nor VIOLATED may be said; empty when either may."""
        ratio, host = found.ratio, self.host
        if ratio.crowded > VOID_SHARE_MAX * found.look:
            starts = self.design.pair_starts(found.look)
            cores = host.strangers_cores(starts, self.design.pair_seconds).mean()
            return (
                f"host too noisy: strangers took {cores:.2f} cores,"
                f" over {CROWDED_CORES:g} in {ratio.crowded} of {found.look} pairs"
            )
        return stolen(host, self.stretch.seconds) or late(self.ops(self.of))


def _paired(attack: _Attack) -> tuple[Judgement, Part]:
    design, stretch, host = attack.design, attack.stretch, attack.host
    ops = attack.ops(attack.of)
    due, latency = series(ops, since_ns=stretch.start_ns)
    given = _Given(host=host, control=attack.controlled())
    pairs = design.pairs_within(stretch.seconds)
    found = judge(design, attack.seed, due, latency, pairs_available=pairs, **given)
    measured = _named("ratio", found.ratio) | {
        f"p{q * 100:g}_ratio": compare(
            design, attack.seed, due, latency, pairs=found.look, quantile=q, **given
        ).estimate
        for q in SHOWN_QUANTILES
        if found.look
    }
    if host.watched:
        cores = host.strangers_cores(np.zeros(1), stretch.seconds)[0]
        measured["strangers_cores"] = float(cores)
    exposures = {
        "pairs": found.ratio.pairs,
        "pairs_void": found.ratio.void,
        "pairs_crowded": found.ratio.crowded,
        "requests": len(ops),
    }
    if found.look == 0:
        reason = f"{pairs} pairs are complete, the first look needs {design.looks[0]}"
        return found, Part(found.status, reason, measured, exposures)
    status, reason = _said(found)
    if not host.watched:
        reason += ", strangers' CPU not watched"
    return found, Part(status, reason, measured, exposures)


def _said(found: Judgement) -> tuple[Status, str]:
    """The judgement in words. HELD it is not where the harm comes late."""
    ratio = found.ratio
    reason = f"p95 ratio {_told(ratio)} after {found.look} pairs"
    if found.status is Status.HELD and ratio.upper < LAGGING:
        return Status.UNKNOWN, f"{reason}: the harm lags behind the flood, which pairs cannot judge"
    if found.status is Status.UNKNOWN and ratio.void:
        reason += f", {ratio.void} of them void"
    if found.status is Status.UNKNOWN and ratio.stalled_on:
        reason += f", {ratio.stalled_on} of {ratio.stalled} stalls while the aggressor was on"
    return found.status, reason


def _worst(attack: _Attack, look: int) -> Part:
    """Each tenant by itself. HELD here means no tenant is known to be worse, no more than that."""
    by_tenant = {
        name: series(own, since_ns=attack.stretch.start_ns)
        for name, own in tenants_of(attack.ops(attack.of)).items()
    }
    found: tuple[TenantRatio, ...] = ()
    if look:
        found = worst_tenant(attack.design, attack.seed, by_tenant, pairs=look, host=attack.host)
    exposures = {"tenants": len(by_tenant), "tenants_judged": len(found)}
    slower = [f"{t.tenant} {_told(t.ratio)}" for t in found if t.slower]
    measured = {"worst_tenant_ratio": found[0].ratio.estimate} if found else {}
    if slower:
        return Part(Status.VIOLATED, f"too slow: {', '.join(slower)}", measured, exposures)
    return Part(Status.HELD, "", measured, exposures)


def _power(design: PairedBlocks, ratio: Ratio, shown: Mapping[str, float]) -> Part:
    """What this run could have seen at all, and how often such a run errs; decides nothing."""
    told = f"false alarms at most {design.alpha:.0%}"
    if isfinite(ratio.detectable):
        told += f"; it could tell {ratio.detectable - 1:+.1%} from none"
    if isfinite(reads := shown.get("sham_p95_ratio", inf)):
        told += f"; with nobody attacking the ratio reads {reads:.3g}"
    return Part(Status.HELD, told, {"alpha": design.alpha}, {})


def _sham(design: PairedBlocks, history: History, phase: str, of: str) -> dict[str, float]:
    """The judge's answer where nobody attacked; its true ratio is 1."""
    stretch = span(history, phase)
    if stretch is None or design.pairs_within(stretch.seconds) == 0:
        return {}
    ops = [op for op in history.during(phase, cohort=of) if not lab_did_it(op)]
    due, latency = series(ops, since_ns=stretch.start_ns)
    host = host_of(history.events, since_ns=stretch.start_ns)
    ratio = sham(design, history.opened.seed, due, latency, seconds=stretch.seconds, host=host)
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
