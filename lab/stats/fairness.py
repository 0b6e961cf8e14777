"""How evenly tenants are served, second by second, each against what it may ask for.

A tenant's service in a second is what was due then and answered in time; its share is service /
min(demand, entitlement), at most 1. So nobody looks badly served for asking little, and nobody is
to blame for using what others left. Every second counts by itself: unfairness that takes turns
averages out over a minute. Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness", DEC
TR-301 (1984); 1 / (1 + CoV^2) is the same number, and CoV < 1, as often asked for, is only 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.history import Op
from lab.stats.series import Floats, series


@dataclass(frozen=True, slots=True)
class Fairness:
    """Over the backlogged tenants of one second, or of a whole phase; 1, 1, 0, 1 is perfect."""

    jain: float
    min_over_max: float
    cov: float
    max_over_mean: float


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """Tenants by seconds: what was due (`demand`), and what of it was answered in time."""

    tenants: tuple[str, ...]
    demand: Floats
    served: Floats


def fairness(shares: Floats) -> Fairness:
    """Of the tenants' shares, one each. Nobody served at all is even, for all are equal."""
    mean = float(shares.mean()) if len(shares) else 0.0
    if mean <= 0:
        return Fairness(1.0, 1.0, 0.0, 1.0)
    cov = float(shares.std() / mean)
    top = float(shares.max())
    return Fairness(1 / (1 + cov**2), float(shares.min()) / top, cov, top / mean)


def service(ops: Sequence[Op], *, since_ns: int, seconds: int, within_ms: float) -> Service:
    """Count `ops` into the whole seconds since `since_ns`; in time is `within_ms` from due."""
    names = tuple(sorted({op.tenant for op in ops}))
    index = {name: n for n, name in enumerate(names)}
    due, latency = series(ops, since_ns=since_ns)
    who = np.array([index[op.tenant] for op in ops], dtype=np.int64)
    second = np.floor(due).astype(np.int64)
    inside = (second >= 0) & (second < seconds)
    demand, served = np.zeros((2, len(names), seconds))
    np.add.at(demand, (who[inside], second[inside]), 1)
    np.add.at(served, (who[inside], second[inside]), latency[inside] <= within_ms)
    return Service(names, demand, served)


def shares(demand: Floats, served: Floats, entitled: float) -> Floats:
    """Service / min(demand, entitlement), at most 1; NaN where nothing was asked for."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.minimum(1.0, served / np.minimum(demand, entitled))


def by_second(
    seen: Service, *, entitled_per_second: float, demand_min: float
) -> dict[int, Fairness]:
    """The fairness of every second in which at least two tenants asked for `demand_min`."""
    share = shares(seen.demand, seen.served, entitled_per_second)
    asked = seen.demand >= demand_min
    return {
        second: fairness(share[asked[:, second], second])
        for second in range(seen.demand.shape[1])
        if asked[:, second].sum() >= 2
    }
