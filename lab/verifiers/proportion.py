"""How much neighbours lose for how much too much somebody asks: Krebs' index over rising loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

from lab.history import History
from lab.stats.host import host_of
from lab.stats.krebs import isolation
from lab.stats.series import quantile_of, series
from lab.verdict import Status, Verdict
from lab.verifiers._fitness import unfit
from lab.verifiers._reading import Claim, lab_did_it, span

REQUESTS_MIN = 200
"""In each phase: 10 above the p95."""


def loss_is_in_proportion(
    loads: Mapping[float, str], *, of: str = "quiet", i_avg_max: float = 0.5
) -> Callable[[History], Verdict]:
    """I_avg over the phases `loads` (multiples of the disruptive tenant's quota -> phase).

    1 is the calm that all are compared with; see `lab/stats/krebs.py`. i_avg_max: 0.5 is a p95 half
    as long again for each quota too much. These are plain before-and-after comparisons, so the bar
    is for gross harm only, and the index is shown as a measure.
    """
    claim = Claim("proportion", f"{of} lose little for what others ask too much", ("R5", "N8"))

    def check(history: History) -> Verdict:
        """Neighbours lose in proportion at most."""
        p95: dict[float, float] = {}
        exposures: dict[str, int] = {}
        for load, phase in loads.items():
            ops = [op for op in history.during(phase, cohort=of) if not lab_did_it(op)]
            stretch = span(history, phase)
            exposures[f"requests_x{load:g}"] = len(ops)
            if stretch is None or len(ops) < REQUESTS_MIN:
                reason = f"{len(ops)} requests in {phase!r}, {REQUESTS_MIN} needed"
                return claim.unknown(reason, exposures=exposures)
            host = host_of(history.events, since_ns=stretch.start_ns)
            if why := unfit(ops, host, stretch.seconds):
                return claim.unknown(f"{phase}: {why}", exposures=exposures)
            p95[load] = quantile_of(series(ops, since_ns=0)[1], 0.95)
        if not isfinite(p95[1.0]):
            return claim.unknown("answers were lost while nobody asked too much")
        found = isolation(p95)
        measured = {f"i_qos_x{load:g}": index for load, index in found.i_qos.items()}
        measured |= {f"p95_ms_x{load:g}": ms for load, ms in p95.items()}
        told = ", ".join(f"x{load:g} {index:.3f}" for load, index in found.i_qos.items())
        return claim.is_(
            Status.HELD if found.i_avg <= i_avg_max else Status.VIOLATED,
            f"I_avg {found.i_avg:.3f} of at most {i_avg_max:g}; I_QoS {told}",
            measured=measured | {"i_avg": found.i_avg},
            exposures=exposures,
        )

    return check
