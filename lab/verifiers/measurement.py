"""The lab itself measured well: what the lab sent late says nothing about the system."""

from __future__ import annotations

from collections.abc import Callable

from lab.history import History
from lab.verdict import Status, Verdict
from lab.verifiers._reading import Claim, sampled, share

CLAIM = Claim("measurement", "the load generator did what was asked of it, on time", ("H1", "H3"))


def generator_was_on_time(
    *,
    lateness_p99_ms_max: float = 50.0,
    stall_ms_max: float = 1000.0,
    cohorts: tuple[str, ...] = (),
    dropped_share_max: float = 0.01,
) -> Callable[[History], Verdict]:
    """The generator's own health, from the last `Sampled(probe="generator")`; never VIOLATED.

    lateness_p99_ms_max: of sent minus due, over the run; stall_ms_max: the longest the generator's
    process stood still (more than 1 s is a pause of the whole host). dropped_share_max: of what was
    due, the share that each of `cohorts` may have left unsent for too much in flight.
    """

    def judge(history: History) -> Verdict:
        """The generator was on time."""
        samples = sampled(history, "generator")
        exposures = {"operations": len(history.ops)}
        if not samples:
            return CLAIM.unknown("the generator told nothing of its health", exposures=exposures)
        values = samples[-1].values
        needed = ("lateness_p99_ms", "stall_max_ms")
        if lacking := [name for name in needed if name not in values]:
            return CLAIM.unknown(f"the generator did not tell {lacking[0]}", exposures=exposures)
        if not history.ops:
            return CLAIM.unknown("the generator sent nothing", exposures=exposures)
        dropped = {f"{cohort}_dropped_share": _dropped(history, cohort) for cohort in cohorts}
        measured = {name: values[name] for name in needed} | dropped
        bounds = dict(zip(needed, (lateness_p99_ms_max, stall_ms_max), strict=True))
        bounds |= dict.fromkeys(dropped, dropped_share_max)
        beyond = [
            f"{k} {measured[k]:.3g} > {bound:g}"
            for k, bound in bounds.items()
            if not measured[k] <= bound
        ]
        if beyond:
            reason = "generator late or host too noisy: " + ", ".join(beyond)
            return CLAIM.is_(
                Status.UNKNOWN, reason, measured=measured, exposures=exposures, evidence=beyond
            )
        reason = f"lateness p99 {values['lateness_p99_ms']:.1f} ms, longest stall"
        return CLAIM.is_(
            Status.HELD,
            f"{reason} {values['stall_max_ms']:.0f} ms",
            measured=measured,
            exposures=exposures,
        )

    return judge


def _dropped(history: History, cohort: str) -> float:
    of_cohort = [op for op in history.ops if op.cohort == cohort]
    return share(sum(op.error == "dropped" for op in of_cohort), len(of_cohort))
