"""Whoever is not the target feels nothing of a fault: their operations succeed as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.history import History, Op, Outcome
from lab.stats.series import quantile_of, series
from lab.verdict import Status, Verdict
from lab.verifiers._reading import Claim, lab_did_it, share, shown, tally

LOST_SHARE_BASELINE_MAX = 0.05
"""A baseline that loses more is no baseline."""


def others_feel_nothing(
    *,
    of: str = "quiet",
    phase: str,
    baseline: str = "baseline",
    lost_share_max: float = 0.01,
    requests_min: int = 30,
) -> Callable[[History], Verdict]:
    """During `phase` the cohort `of` loses at most `lost_share_max` more than in `baseline`.

    Lost is every operation that did not end OK, whatever the reason, except those the lab cut off
    itself. Both phases need `requests_min` operations. The p95 is shown, not judged.
    """
    claim = Claim("untouched", f"{of} feels nothing of {phase!r}", ("R7", "P8", "V8.4.1"))

    def judge(history: History) -> Verdict:
        """Those who are not the target feel nothing."""
        calm, hit = _counted(history, baseline, of), _counted(history, phase, of)
        exposures = {"requests": len(hit), "requests_baseline": len(calm)}
        if min(len(calm), len(hit)) < requests_min:
            return claim.unknown(
                f"{len(hit)} requests in {phase!r} and {len(calm)} in {baseline!r},"
                f" at least {requests_min} needed in each",
                exposures=exposures,
            )
        lost = [op for op in hit if op.outcome is not Outcome.OK]
        lost_share = share(len(lost), len(hit))
        lost_before = share(sum(op.outcome is not Outcome.OK for op in calm), len(calm))
        measured = {
            "lost_share": lost_share,
            "lost_share_baseline": lost_before,
            "p95_ms": _p95(hit),
            "p95_baseline_ms": _p95(calm),
        }
        if lost_before > LOST_SHARE_BASELINE_MAX:
            reason = f"the baseline itself lost {lost_before:.1%}"
            return claim.is_(Status.UNKNOWN, reason, measured=measured, exposures=exposures)
        fine = lost_share - lost_before <= lost_share_max
        why = f" ({tally(op.error for op in lost)})" if lost else ""
        return claim.is_(
            Status.HELD if fine else Status.VIOLATED,
            f"{len(lost)} of {len(hit)} operations lost{why}, {lost_before:.2%} in {baseline!r}",
            measured=measured,
            exposures=exposures,
            evidence=(shown(op) for op in lost),
        )

    return judge


def _counted(history: History, phase: str, cohort: str) -> tuple[Op, ...]:
    return tuple(op for op in history.during(phase, cohort=cohort) if not lab_did_it(op))


def _p95(ops: Sequence[Op]) -> float:
    return quantile_of(series(ops, since_ns=0)[1], 0.95)
