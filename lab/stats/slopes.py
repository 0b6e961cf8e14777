"""How fast something grows: the median of all pairwise slopes, with limits, outliers and all.

Sources: Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", JASA 63 (1968)
1379-1389, for the estimate and its limits; Machida et al. (WoSAR 2013) for why a trend test alone
calls healthy servers leaking: a warm-up decays, hence `decelerating`, and a practical bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt
from statistics import NormalDist

import numpy as np

from lab.stats.series import Floats

POINTS_MAX = 1000
"""More points than this are thinned evenly: all pairs of 1,000 are half a million slopes."""

SLOWING = 0.8
"""A leak goes on: its last third grows at least this fast, compared with its middle third.

Measured on a healthy server: 233, 67, 67, 8 bytes a request in turn, and 1,355, 1,387, 1,373, 1,363
with 1 KiB leaked at each.
"""


@dataclass(frozen=True, slots=True)
class Slope:
    """In units of y per unit of x, with one-sided limits; NaN and infinite with too few points."""

    slope: float
    lower: float
    upper: float
    points: int


def theil_sen(x: Floats, y: Floats, *, alpha: float = 0.01) -> Slope:
    """The slope of `y` over `x`, each limit one-sided at level `alpha` (Kendall, ties counted).

    The limits take the points as independent: a series that wanders by itself, as memory does, has
    wider ones in truth, so compare it with a control and ask for a practical bound as well.
    Raises ValueError for arrays of different lengths, or values that are not finite.
    """
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"x and y must be two rows of one length: {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a slope needs finite values")
    kept = np.unique(np.linspace(0, max(0, len(x) - 1), min(len(x), POINTS_MAX)).astype(np.int64))
    x, y = x[kept], y[kept]
    first, second = np.triu_indices(len(x), k=1)
    run, rise = x[second] - x[first], y[second] - y[first]
    slopes = np.sort(rise[run != 0] / run[run != 0])
    if len(slopes) == 0:
        return Slope(nan, -inf, inf, len(x))
    reach = NormalDist().inv_cdf(1 - alpha) * _deviation(x, y)
    low, high = round((len(slopes) - reach) / 2) - 1, round((len(slopes) + reach) / 2)
    return Slope(
        slope=float(np.median(slopes)),
        lower=float(slopes[low]) if low >= 0 else -inf,
        upper=float(slopes[high]) if high < len(slopes) else inf,
        points=len(x),
    )


def decelerating(x: Floats, y: Floats) -> bool:
    """Whether the last third of `x` grows at under `SLOWING` of the rate of its middle third.

    True for growth that settles, as a warm-up does, and for none at all; False for a steady leak.
    Too few points for a slope in each third are True: nothing is known to go on.
    """
    if len(x) == 0:
        return True
    edges = x.min() + np.array([1, 2]) / 3 * (x.max() - x.min())
    middle = theil_sen(*_between(x, y, edges[0], edges[1])).slope
    last = theil_sen(*_between(x, y, edges[1], inf)).slope
    return not (last > 0 and last >= SLOWING * middle)


def _between(x: Floats, y: Floats, since: float, until: float) -> tuple[Floats, Floats]:
    inside = (x >= since) & (x < until)
    return x[inside], y[inside]


def _deviation(x: Floats, y: Floats) -> float:
    """The standard deviation of Kendall's S under no trend, ties in either series counted.

    Source: Kendall, Rank Correlation Methods, 4th ed., section 4.9 (the form without the ties' own
    covariance terms, as Sen uses it).
    """

    def weight(sizes: np.ndarray) -> int:
        return int(np.sum(sizes * (sizes - 1) * (2 * sizes + 5)))

    ties = sum(weight(np.unique(values, return_counts=True)[1]) for values in (x, y))
    return sqrt(max(0, weight(np.array([len(x)])) - ties) / 18)
