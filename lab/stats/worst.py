"""Every tenant judged by itself, by Holm's step-down: an average hides the one that suffers.

A single tenant seldom has enough requests in a block, so neighbouring pairs are merged until both
sides have. Whoever still has too few merged pairs for the level is not judged.
Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np

from lab.stats.design import Mask, PairedBlocks
from lab.stats.host import CALM, Host
from lab.stats.paired import Ratio, ratio_of
from lab.stats.ranks import p_value
from lab.stats.series import Floats, Ints, difference, ln_quantiles

REQUESTS_MIN = 10
"""For one side of a merged pair. Signs are fair coins however few requests there are, so the level
holds; under 20 the p95 is the maximum, which a slower tenant shifts as well."""


@dataclass(frozen=True, slots=True)
class TenantRatio:
    """One tenant's ratio; `slower`: Holm's step-down rejects "within the margin" for it."""

    tenant: str
    ratio: Ratio
    p: float
    slower: bool


def worst_tenant(
    design: PairedBlocks,
    seed: int,
    tenants: Mapping[str, tuple[Floats, Floats]],
    *,
    pairs: int,
    host: Host = CALM,
) -> tuple[TenantRatio, ...]:
    """The judged tenants, worst first; those with too little evidence are left out.

    tenants: name -> (due_seconds since the phase's start, latency_ms). The family's false alarm
    rate is what a look may spend on tenants (`design.tenants_alpha_at`). A ratio's own limits are
    at that level, unadjusted. Pairs that the host spoilt are left out.
    """
    alpha = design.tenants_alpha_at(pairs)
    fine = ~(host.stalled(design, pairs) | host.crowded(design, pairs))
    merged = {
        name: _differences(design, seed, due, latency, fine)
        for name, (due, latency) in tenants.items()
    }
    # 2^-n is the least p that n pairs can reach: fewer could never be told from an accident.
    strictest = alpha / max(1, len(merged))
    enough = {name: d for name, d in merged.items() if 0.5 ** len(d) <= strictest}
    margin = log(1 + design.margin)
    by_p = sorted((p_value(d, margin), name) for name, d in enough.items())
    found: list[TenantRatio] = []
    rejecting = True
    for rank, (p, name) in enumerate(by_p):
        rejecting = rejecting and p <= alpha / (len(by_p) - rank)
        ratio = ratio_of(design, enough[name], pairs=pairs, alpha=alpha, requests=np.empty(0))
        found.append(TenantRatio(name, ratio, p, rejecting))
    return tuple(found)


def _differences(
    design: PairedBlocks, seed: int, due: Floats, latency: Floats, fine: Mask
) -> Floats:
    """ln ratios of one tenant's merged pairs: swapping a pair's coins together flips the sign."""
    pairs = len(fine)
    side = design.sides(seed, due, pairs)
    counts = np.bincount(side[side >= 0], minlength=2 * pairs).reshape(-1, 2)
    group, groups = _merge(counts, fine, min(REQUESTS_MIN, design.requests_min))
    used = side >= 0
    merged = np.where(group[side[used] // 2] >= 0, 2 * group[side[used] // 2] + side[used] % 2, -1)
    quantiles, _ = ln_quantiles(
        merged[merged >= 0],
        latency[used][merged >= 0],
        count=2 * groups,
        quantile=design.quantile,
    )
    change = difference(quantiles[1::2], quantiles[0::2])
    return change[~np.isnan(change)]


def _merge(counts: Ints, fine: Mask, requests_min: int) -> tuple[Ints, int]:
    """Which merged pair each pair belongs to (-1: void or left over), and how many there are."""
    group = np.full(len(counts), -1, dtype=np.int64)
    groups, since = 0, 0
    have = np.zeros(2, dtype=np.int64)
    for pair in range(len(counts)):
        have += counts[pair] * int(fine[pair])
        if have.min() >= requests_min:
            members = np.arange(since, pair + 1)
            group[members[fine[since : pair + 1]]] = groups
            groups, since = groups + 1, pair + 1
            have[:] = 0
    return group, groups
