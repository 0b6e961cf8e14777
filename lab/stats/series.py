"""Operations as two arrays, and the quantiles of groups of them: where every statistic starts."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, inf, isnan

import numpy as np
from numpy.typing import NDArray

from lab.history import Op

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def series(ops: Iterable[Op], *, since_ns: int) -> tuple[Floats, Floats]:
    """Due times in seconds after `since_ns`, and latencies in ms (infinite unless OK)."""
    rows = [((op.due_ns - since_ns) / 1e9, op.latency_ms) for op in ops]
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def quantile_of(values: Floats, quantile: float) -> float:
    """The order statistic at `quantile` (no average, so infinity is fine); NaN without any."""
    groups = np.zeros(len(values), dtype=np.int64)
    return float(group_quantiles(groups, values, count=1, quantile=quantile)[0][0])


def group_quantiles(
    groups: Ints, values: Floats, *, count: int, quantile: float
) -> tuple[Floats, Ints]:
    """The quantile (an order statistic, NaN for none) and the size of each group 0 .. count-1."""
    sizes = np.bincount(groups, minlength=count)
    ordered = values[np.lexsort((values, groups))]
    starts = np.cumsum(sizes) - sizes
    ranks = np.maximum(np.ceil(quantile * sizes - 1e-9).astype(np.int64) - 1, 0)
    found = np.full(count, np.nan)
    some = sizes > 0
    found[some] = ordered[(starts + ranks)[some]]
    return found, sizes


def ln_quantiles(
    groups: Ints, values: Floats, *, count: int, quantile: float
) -> tuple[Floats, Ints]:
    """ln of each group's quantile, smoothed, and the sizes; infinite just when the quantile is.

    Smoothed: the mean of the logarithms of all order statistics within one standard error of the
    rank, sqrt(n q (1 - q)), as far as they are finite on both sides. In 900 simulated runs it found
    98 % of +20 % effects where the single order statistic found 95 %. Nothing takes less than 1 ns.
    """
    found, sizes = group_quantiles(groups, values, count=count, quantile=quantile)
    finite = np.bincount(groups[np.isfinite(values)], minlength=count)
    logs = np.append(np.log(np.maximum(values[np.lexsort((values, groups))], 1e-6)), 0.0)
    rank = np.maximum(np.ceil(quantile * sizes - 1e-9).astype(np.int64) - 1, 0)
    reach = np.floor(np.sqrt(sizes * quantile * (1 - quantile))).astype(np.int64)
    reach = np.minimum(reach, np.minimum(rank, finite - 1 - rank))
    some = np.isfinite(found)
    middle, reach = (np.cumsum(sizes) - sizes + rank)[some], reach[some]
    edges = np.column_stack((middle - reach, middle + reach + 1)).ravel()
    sums = np.add.reduceat(logs, edges)[::2] if len(edges) else np.empty(0)
    found[some] = sums / (2 * reach + 1)
    return found, sizes


def difference(on: Floats, off: Floats) -> Floats:
    """on - off; infinite where one side is, NaN (no information) where both are or one lacks."""
    with np.errstate(invalid="ignore"):
        return on - off


def exp_of(value: float) -> float:
    """e^value without overflow: what is too large is infinite, NaN stays NaN."""
    return exp(value) if isnan(value) or value < 700 else inf
