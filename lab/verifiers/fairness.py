"""Everybody gets their share, in every second: nobody starves beside somebody greedy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lab.history import History
from lab.stats.fairness import Fairness, Service, by_second, fairness, service, shares
from lab.stats.host import CROWDED_CORES, Host, host_of
from lab.stats.series import Floats
from lab.verdict import Status, Verdict
from lab.verifiers._fitness import late
from lab.verifiers._reading import Claim, lab_did_it, span

CLAIM = Claim("fairness", "every tenant gets its share, second by second", ("R6", "R5", "N8"))

SECONDS_MIN = 5
"""Fewer seconds to judge are too little evidence."""

TINY = 1e-9  # what adding up many equal shares may be off by

WORST_QUANTILE = 0.05
"""The second that is judged: as bad as one in twenty. The worst of all is shown beside it."""


def everybody_gets_their_share(
    *,
    phase: str,
    entitled_per_second: float,
    tenants_min: int = 2,
    within_ms: float = 1000.0,
    demand_min: int = 3,
    jain_min: float = 0.98,
    min_over_max_min: float = 0.9,
    max_over_mean_max: float = 1.25,
    share_min: float = 0.5,
) -> Callable[[History], Verdict]:
    """Jain's index of service / min(demand, entitlement) in the worst seconds of `phase`.

    entitled_per_second: requests that each tenant may count on, whatever others ask for.
    tenants_min: with fewer there is no verdict; within_ms: from due to an answer that counts.
    demand_min: requests in a second that make a tenant one to compare. The other bars are on each
    tenant's share over the whole phase: of the least to the largest, of the largest to the mean,
    and of the least itself, for a promise that is broken to all alike is broken.
    Seconds that strangers crowd or a stall of the host touches are set aside.
    """

    bars = {
        "jain_in_bad_seconds": (jain_min, 1.0),
        "least_share": (share_min, 1.0),
        "min_over_max": (min_over_max_min, 1.0),
        "max_over_mean": (1.0, max_over_mean_max),
    }

    def check(history: History) -> Verdict:
        """Everybody gets their share."""
        stretch = span(history, phase)
        if stretch is None:
            return CLAIM.unknown(f"the run never got through {phase!r}")
        ops = [op for op in history.during(phase) if not lab_did_it(op)]
        seconds = int(stretch.seconds)
        seen = service(ops, since_ns=stretch.start_ns, seconds=seconds, within_ms=within_ms)
        each = by_second(seen, entitled_per_second=entitled_per_second, demand_min=demand_min)
        host = host_of(history.events, since_ns=stretch.start_ns)
        fit = [second for second in each if _fit(host, second)]
        exposures = {
            "tenants": len(seen.tenants),
            "requests": len(ops),
            "seconds": len(fit),
            "seconds_unfit": len(each) - len(fit),
        }
        if len(seen.tenants) < tenants_min or len(fit) < SECONDS_MIN:
            reason = f"{len(seen.tenants)} tenants asked ({tenants_min} needed),"
            reason += f" {len(fit)} seconds to judge ({SECONDS_MIN} needed)"
            return CLAIM.unknown(reason, exposures=exposures)
        if why := late(ops):
            return CLAIM.unknown(why, exposures=exposures)
        share = _whole(seen, fit, entitled_per_second)
        return _judged([each[second] for second in fit], seen.tenants, share, bars, exposures)

    return check


def _judged(
    each: list[Fairness],
    tenants: tuple[str, ...],
    share: Floats,
    bars: dict[str, tuple[float, float]],
    exposures: dict[str, int],
) -> Verdict:
    measured = _measured(each, share)
    beyond = [n for n, (low, high) in bars.items() if not low - TINY <= measured[n] <= high + TINY]
    worst = sorted(zip(share.tolist(), tenants, strict=True))[:3] if beyond else ()
    return CLAIM.is_(
        Status.VIOLATED if beyond else Status.HELD,
        ", ".join(f"{name} {value:.3f}" for name, value in measured.items()),
        measured=measured,
        exposures=exposures,
        evidence=[
            *("{} {:.3f}, to be {:g} to {:g}".format(n, measured[n], *bars[n]) for n in beyond),
            *(f"{tenant} got {part:.1%} of its share" for part, tenant in worst),
        ],
    )


def _whole(seen: Service, fit: list[int], entitled_per_second: float) -> Floats:
    """Each tenant's share over all `fit` seconds."""
    demand, served = seen.demand[:, fit].sum(axis=1), seen.served[:, fit].sum(axis=1)
    return shares(demand, served, entitled_per_second * len(fit))


def _measured(each: list[Fairness], share: Floats) -> dict[str, float]:
    """The figures of the report."""
    whole = fairness(share[~np.isnan(share)])
    jain = np.sort([second.jain for second in each])
    return {
        "jain_in_bad_seconds": float(jain[int(WORST_QUANTILE * len(jain))]),
        "jain_worst_second": float(jain[0]),
        "cov_worst_second": max(second.cov for second in each),
        "least_share": float(np.nanmin(share)),
        "min_over_max": whole.min_over_max,
        "max_over_mean": whole.max_over_mean,
    }


def _fit(host: Host, second: int) -> bool:
    """Whether the host left this second alone."""
    start = np.array([float(second)])
    crowded = host.strangers_cores(start, 1.0)[0] > CROWDED_CORES
    return not crowded and not any(a < second + 1 and b > second for a, b in host.stalls)
