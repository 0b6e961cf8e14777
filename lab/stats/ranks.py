"""Exact limits for a location from signed ranks: no normality, no independence in time needed.

When a coin decides the sign of every difference, the signed-rank statistic has one known
distribution whatever the noise was. Its quantiles, counted into the sorted Walsh averages
(d_i + d_j) / 2, give the Hodges-Lehmann estimate and its one-sided limits.
Source: Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, 3rd ed., sections 3.1 to 3.3.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@lru_cache(maxsize=256)
def null_distribution(pairs: int) -> Floats:
    """P(T <= t) for t = 0 .. n(n+1)/2; T sums the ranks 1..n whose fair coin fell on heads."""
    mass = np.zeros(pairs * (pairs + 1) // 2 + 1)
    mass[0] = 1.0
    for rank in range(1, pairs + 1):
        shifted = np.zeros_like(mass)
        shifted[rank:] = mass[:-rank]
        mass = (mass + shifted) / 2
    cumulative = np.cumsum(mass)
    cumulative.flags.writeable = False
    return cumulative


def walsh_averages(differences: Floats) -> Floats:
    """All (d_i + d_j) / 2 with i <= j, unsorted; +inf with -inf gives NaN, which says nothing."""
    first, second = np.triu_indices(len(differences))
    with np.errstate(invalid="ignore"):
        return (differences[first] + differences[second]) / 2


def limits(differences: Floats, alpha: float) -> tuple[float, float, float]:
    """Hodges-Lehmann estimate, lower and upper limit, each limit one-sided at level `alpha`.

    Infinite differences count as the largest. Where +inf meets -inf the average is taken as -inf
    for the lower limit and as +inf for the upper one, so that both stay on the safe side.
    With too few differences for `alpha` the limits are infinite; without any, the estimate is NaN.
    """
    if len(differences) == 0:
        return float("nan"), -np.inf, np.inf
    averages = walsh_averages(differences)
    spread = np.sort(np.where(np.isnan(averages), 0.0, averages))
    low, high = spread[(len(spread) - 1) // 2], spread[len(spread) // 2]
    estimate = low if low == high else (low + high) / 2
    cut = int(np.searchsorted(null_distribution(len(differences)), alpha, side="right"))
    if cut == 0:
        return float(estimate), -np.inf, np.inf
    lower = np.sort(np.where(np.isnan(averages), -np.inf, averages))[cut - 1]
    upper = np.sort(np.where(np.isnan(averages), np.inf, averages))[-cut]
    return float(estimate), float(lower), float(upper)


def p_value(differences: Floats, threshold: float) -> float:
    """The least alpha at which the lower limit lies above `threshold`; 1 without differences."""
    if len(differences) == 0:
        return 1.0
    averages = walsh_averages(differences)
    not_above = int(np.sum(~(averages > threshold)))
    return float(null_distribution(len(differences))[not_above])
