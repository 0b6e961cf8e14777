"""The judge of interference: aggressor on and off in neighbouring blocks, compared by signed ranks.

Before-and-after comparisons called 42 to 49 % of harmless runs a violation on a noisy machine. Here
a seeded coin orders every pair of neighbouring half-second blocks, so under "no effect" each
pair's sign is a fair coin whatever the host does meanwhile, and the test's level is exact.
Alternation sees only effects that come and go within the washout; slower ones need a long attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from statistics import NormalDist

import numpy as np

from lab.history import Op
from lab.stats.design import BLOCKS, SHAM, PairedBlocks
from lab.stats.host import CALM, Host
from lab.stats.ranks import limits
from lab.stats.series import Floats, Ints, difference, exp_of, ln_quantiles, series
from lab.verdict import Status

POWER = 0.9
"""The chance of seeing the effect that `detectable` and `seconds_to_detect_margin` speak of."""

VOID_SHARE_MAX = 0.5
"""With more void pairs than this there is no judgement (the host was not fit for one)."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times slower with the aggressor on: estimate and one-sided limits, multiplicative.

    pairs: compared; void: left out, `crowded` of them by strangers, `stalled` by stalls, of which
    `stalled_on` touched the on-block; sd_ln: spread of the pairs' ln ratios;
    requests_median: in a block.
    detectable: the least true ratio this run would have told from none (power 0.9).
    seconds_to_detect_margin: how long a run on such a host takes to tell the margin from none.
    """

    estimate: float
    lower: float
    upper: float
    pairs: int
    void: int
    sd_ln: float
    requests_median: float
    detectable: float
    seconds_to_detect_margin: float
    crowded: int = 0
    stalled: int = 0
    stalled_on: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the looks came to: `look` is the number of pairs at the last one, 0 without any."""

    status: Status
    ratio: Ratio
    look: int


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """A cohort that the aggressor cannot reach: whatever its pairs differ by, the host did."""

    due_seconds: Floats
    latency_ms: Floats


def compare(
    design: PairedBlocks,
    seed: int,
    due_seconds: Floats,
    latency_ms: Floats,
    *,
    pairs: int,
    host: Host = CALM,
    control: Control | None = None,
    quantile: float | None = None,
    coins: str = BLOCKS,
) -> Ratio:
    """Compare on with off over the first `pairs` pairs.

    due_seconds: since the phase's start; latency_ms: from due to done, infinite unless OK (dropped,
    refused and unfinished requests are infinite too). host: which pairs it spoilt. control: its own
    ln ratio is taken from each pair's (difference in differences), which steadies the estimate
    where strangers hit both. quantile: another than the design's, for information only.
    """
    at = quantile or design.quantile
    change, sizes = changes(design, seed, due_seconds, latency_ms, pairs, at, coins)
    if control is not None:
        of_host, _ = changes(
            design, seed, control.due_seconds, control.latency_ms, pairs, at, coins
        )
        change = difference(change, of_host)
    stalled, crowded = host.stalled(design, pairs), host.crowded(design, pairs)
    on = host.stalled_on(design, seed, pairs, coins)
    keep = ~np.isnan(change) & ~stalled & ~crowded
    return ratio_of(
        design,
        change[keep],
        pairs=pairs,
        alpha=design.alpha_at(pairs),
        held_alpha=design.held_alpha_at(pairs),
        requests=sizes.astype(np.float64),
        crowded=int(crowded.sum()),
        stalled=int(stalled.sum()),
        stalled_on=int(on.sum()),
    )


def sham(
    design: PairedBlocks,
    seed: int,
    due_seconds: Floats,
    latency_ms: Floats,
    *,
    seconds: float,
    host: Host = CALM,
) -> Ratio:
    """The same comparison on a phase of `seconds` without any aggressor: its true ratio is 1."""
    pairs = design.pairs_within(seconds)
    return compare(design, seed, due_seconds, latency_ms, pairs=pairs, host=host, coins=SHAM)


def decide(design: PairedBlocks, ratio: Ratio, *, look: int) -> Status:
    """HELD or VIOLATED when one limit settles the margin after `look` pairs, else UNKNOWN."""
    if ratio.pairs == 0 or ratio.void > VOID_SHARE_MAX * look:
        return Status.UNKNOWN
    if ratio.upper < 1 + design.margin:
        return Status.HELD
    return Status.VIOLATED if ratio.lower > 1 + design.margin else Status.UNKNOWN


def judge(
    design: PairedBlocks,
    seed: int,
    due_seconds: Floats,
    latency_ms: Floats,
    *,
    pairs_available: int,
    host: Host = CALM,
    control: Control | None = None,
) -> Judgement:
    """Look after 20, 40, 60 pairs and stop at the first answer, exactly as a live run does.

    The answer is the same live and afterwards provided that what was due before a look is over
    (or censored as infinite for good) when the look is taken.
    """
    done = [look for look in design.looks if look <= pairs_available]
    ratio = _nothing()
    for look in done:
        ratio = compare(
            design, seed, due_seconds, latency_ms, pairs=look, host=host, control=control
        )
        status = decide(design, ratio, look=look)
        if status is not Status.UNKNOWN:
            return Judgement(status, ratio, look)
    return Judgement(Status.UNKNOWN, ratio, done[-1] if done else 0)


def live_judgement(
    design: PairedBlocks,
    seed: int,
    ops: Sequence[Op],
    *,
    since_ns: int,
    pairs: int,
    host: Host = CALM,
) -> Status:
    """One look while the phase runs: `ops` are the pooled victims', `since_ns` the phase's start.

    Only operations that ended are known here, so this decides when to stop, never the verdict.
    """
    due_seconds, latency_ms = series(ops, since_ns=since_ns)
    ratio = compare(design, seed, due_seconds, latency_ms, pairs=pairs, host=host)
    return decide(design, ratio, look=pairs)


def changes(
    design: PairedBlocks,
    seed: int,
    due_seconds: Floats,
    latency_ms: Floats,
    pairs: int,
    quantile: float,
    coins: str = BLOCKS,
) -> tuple[Floats, Ints]:
    """Each pair's ln ratio, NaN where a block has too few requests, and the sizes of all blocks."""
    side = design.sides(seed, due_seconds, pairs, coins)
    used = side >= 0
    quantiles, sizes = ln_quantiles(
        side[used], latency_ms[used], count=2 * pairs, quantile=quantile
    )
    change = difference(quantiles[1::2], quantiles[0::2])
    enough = np.minimum(sizes[0::2], sizes[1::2]) >= design.requests_min
    return np.where(enough, change, np.nan), sizes


def ratio_of(
    design: PairedBlocks,
    ln_ratios: Floats,
    *,
    pairs: int,
    alpha: float,
    requests: Floats,
    held_alpha: float | None = None,
    crowded: int = 0,
    stalled: int = 0,
    stalled_on: int = 0,
) -> Ratio:
    """The ratio that the `ln_ratios` of the kept ones of `pairs` support at level `alpha`.

    held_alpha: the upper limit's level, where it is another.
    """
    normal = NormalDist()
    held_alpha = alpha if held_alpha is None else held_alpha
    estimate, lower, upper = limits(ln_ratios, alpha)
    z_alpha, z_power = normal.inv_cdf(1 - alpha), normal.inv_cdf(POWER)
    # Half the width between the limits is z_alpha standard errors, whatever the noise looks like.
    effect = (upper - lower) / 2 * (z_alpha + z_power) / z_alpha
    needed = pairs * (effect / log(1 + design.margin)) ** 2 if effect < inf else inf
    finite = ln_ratios[np.isfinite(ln_ratios)]
    _, _, feared = limits(np.append(ln_ratios, np.full(stalled_on, inf)), held_alpha)
    return Ratio(
        estimate=exp_of(estimate),
        lower=exp_of(lower),
        upper=exp_of(feared),
        pairs=len(ln_ratios),
        void=pairs - len(ln_ratios),
        sd_ln=float(np.std(finite, ddof=1)) if len(finite) > 1 else inf,
        requests_median=float(np.median(requests)) if len(requests) else 0.0,
        detectable=exp_of(effect),
        seconds_to_detect_margin=(needed + design.warm_up_pairs) * design.pair_seconds,
        crowded=crowded,
        stalled=stalled,
        stalled_on=stalled_on,
    )


def _nothing() -> Ratio:
    return Ratio(float("nan"), 0.0, inf, 0, 0, inf, 0.0, inf, inf)
