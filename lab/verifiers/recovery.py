"""Service is back in the band it was in before, within a bound, with the load still on.

The band is fixed before the fault from at least 30 windows. Recovered is the first of 5 windows in
a row inside the band; a service that never is has no recovery time, only a time it was watched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from lab.history import History, Op
from lab.journal import Healed
from lab.stats.series import Floats, group_quantiles, series
from lab.verdict import Status, Verdict
from lab.verifiers._fitness import late
from lab.verifiers._reading import Claim, Span, lab_did_it, span

WINDOWS_MIN, IN_A_ROW = 30, 5
WINDOW_SECONDS, WINDOW_SECONDS_MIN = 0.25, 0.1
REQUESTS_PER_WINDOW_MIN = 3.0
OK_SHARE_FLOOR = 0.95  # no band asks for more, for one lost request in twenty is no outage
SLACK_MS = 25.0  # nor for a p95 closer than this to the usual one: a scheduler's time slice or two
STEADY_OK_SHARE = 0.8  # a service that loses more before the fault has no band to come back to


@dataclass(frozen=True, slots=True)
class Band:
    """What a window has to be like: at least this share OK, at most this p95."""

    ok_share_min: float
    p95_ms_max: float


def settles_within(
    seconds: float,
    *,
    before: str,
    fault: str | None = None,
    after: str,
    of: str,
    window_seconds: float | None = None,
) -> Callable[[History], Verdict]:
    """The cohort `of` is back in its band `seconds` after the heal at the latest.

    before, after: phases; the band comes from `before`. fault: the phase whose faults' last heal
    starts the clock; without one the start of `after` does. Windows are 0.25 s, or shorter so that
    30 fit into `before` (0.1 s at least), unless `window_seconds` says otherwise.

    VIOLATED when it came back later, or not while it was watched for longer than the bound;
    UNKNOWN when it was not watched long enough, what was before gives no band, or the lateness was
    the load generator's.
    """
    cause = f"{fault!r}" if fault else f"what came before {after!r}"
    text = f"{of} is back in its band within {seconds:g} s after {cause}"
    claim = Claim("recovery", text, ("R5", "R7", "N1"))

    def judge(history: History) -> Verdict:
        """The cohort is back in its band in time."""
        calm, watched = span(history, before), _watched(history, fault, after)
        if calm is None or isinstance(watched, str):
            reason = watched if isinstance(watched, str) else f"the run has no whole {before!r}"
            return claim.unknown(reason)
        width = window_seconds or max(
            WINDOW_SECONDS_MIN, min(WINDOW_SECONDS, calm.seconds / (WINDOWS_MIN + 1))
        )
        counted = [op for op in history.ops if op.cohort == of and not lab_did_it(op)]
        ok, p95, sizes = _windows(counted, calm, width)
        exposures = {"windows_before": len(ok), "requests_before": int(sizes.sum())}
        if len(ok) < WINDOWS_MIN or sizes.mean() < REQUESTS_PER_WINDOW_MIN:
            few = f"{len(ok)} windows of {int(sizes.sum())} requests in {before!r} give no band"
            return claim.unknown(few, exposures=exposures)
        band = _band(ok, p95)
        if band.ok_share_min < STEADY_OK_SHARE:
            reason = f"{before!r} was not steady: windows with {band.ok_share_min:.0%} answered"
            return claim.unknown(reason, exposures=exposures)
        after_windows = _windows(counted, watched, width)
        exposures["windows_after"] = len(after_windows[0])
        verdict = _judged(claim, band, after_windows, watched, width, seconds, exposures)
        afterwards = [op for op in counted if watched.start_ns <= op.due_ns < watched.end_ns]
        if verdict.status is Status.VIOLATED and (why := late(afterwards)):
            return claim.unknown(f"{verdict.reason}, but {why}", exposures=exposures)
        return verdict

    return judge


def _watched(history: History, fault: str | None, after: str) -> Span | str:
    """From the heal to the end of `after`; or why that cannot be told."""
    rest = span(history, after)
    if rest is None:
        return f"the run never got through {after!r}"
    if fault is None:
        return rest
    broken = span(history, fault)
    if broken is None:
        return f"the run never got through {fault!r}"
    healed = [e for e in history.of(Healed) if broken.start_ns <= e.at_ns <= broken.end_ns]
    if not healed:
        return f"no fault was healed in {fault!r}"
    if failed := [e for e in healed if e.error]:
        return f"{failed[0].fault} was not healed: {failed[0].error}"
    return Span(max(e.at_ns for e in healed), rest.end_ns)


def _windows(
    ops: Sequence[Op], stretch: Span, width: float
) -> tuple[Floats, Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Of every whole window: the share OK, the p95 of those (both NaN without any), the size."""
    count = int(stretch.seconds / width + 1e-9)
    due, latency = series(ops, since_ns=stretch.start_ns)
    window = np.floor(due / width).astype(np.int64)
    inside = (window >= 0) & (window < count)
    fine = inside & np.isfinite(latency)  # what was lost is the other figure's matter
    p95, answered = group_quantiles(window[fine], latency[fine], count=count, quantile=0.95)
    sizes = np.bincount(window[inside], minlength=count)
    with np.errstate(invalid="ignore"):
        return answered / sizes, p95, sizes


def _band(ok: Floats, p95: Floats) -> Band:
    """The 5 % quantile of the shares and the greatest p95, but no tighter than the slack."""
    shares, tails = ok[~np.isnan(ok)], p95[np.isfinite(p95)]
    lowest = float(np.quantile(shares, 0.05, method="lower"))
    usual = float(np.median(tails)) if len(tails) else 0.0
    greatest = float(tails.max()) if len(tails) else 0.0
    return Band(min(lowest, OK_SHARE_FLOOR), max(greatest, 2 * usual, usual + SLACK_MS))


def _recovered_at(band: Band, ok: Floats, p95: Floats, width: float) -> float:
    """Seconds to the first of 5 good windows in a row; NaN for never.

    A window in which nothing was due says nothing and is skipped (what fails is still due).
    """
    row: list[int] = []
    for window in range(len(ok)):
        if isnan(ok[window]):
            continue
        good = ok[window] >= band.ok_share_min and p95[window] <= band.p95_ms_max
        row = [*row, window] if good else []
        if len(row) == IN_A_ROW:
            return row[0] * width
    return float("nan")


def _judged(
    claim: Claim,
    band: Band,
    windows: tuple[Floats, Floats, np.ndarray[tuple[int], np.dtype[np.int64]]],
    watched: Span,
    width: float,
    bound_seconds: float,
    exposures: dict[str, int],
) -> Verdict:
    ok, p95, sizes = windows
    took = _recovered_at(band, ok, p95, width)
    measured = {
        "recovery_seconds": took,
        "watched_seconds": watched.seconds,
        "band_ok_share_min": band.ok_share_min,
        "band_p95_ms_max": band.p95_ms_max,
        "window_seconds": width,
    }
    if len(ok) == 0 or sizes.mean() < REQUESTS_PER_WINDOW_MIN:
        few = f"{int(sizes.sum())} requests in the {watched.seconds:.1f} s after are too few"
        return claim.unknown(few, exposures=exposures)
    if isnan(took):
        enough = watched.seconds >= bound_seconds + IN_A_ROW * width
        status = Status.VIOLATED if enough else Status.UNKNOWN
        reason = f"not back in the band in the {watched.seconds:.1f} s it was watched"
    else:
        status = Status.HELD if took <= bound_seconds else Status.VIOLATED
        reason = f"back in the band {took:.2f} s after, of at most {bound_seconds:g} s"
    return claim.is_(status, reason, measured=measured, exposures=exposures)
