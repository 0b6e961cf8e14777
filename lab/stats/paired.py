"""The judge of interference: aggressor on and off in neighbouring blocks, compared by signed ranks.

Before-and-after comparisons called 42 to 49 % of harmless runs a violation on a noisy machine. Here
a seeded coin orders every pair of neighbouring half-second blocks, so under "no effect" each
pair's sign is a fair coin whatever the host does meanwhile, and the test's level is exact.
Alternation sees only effects that come and go within the washout; slower ones need a long attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import inf, log
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lab.history import Op
from lab.seeds import stream
from lab.stats.ranks import limits
from lab.stats.series import Floats, Ints, difference, exp_of, ln_quantiles, series
from lab.verdict import Status

Intervals = Sequence[tuple[float, float]]
"""Stretches of time, (start, end) in seconds since the phase's start."""

POWER = 0.9
"""The chance of seeing the effect that `detectable` and `seconds_to_detect_margin` speak of."""

VOID_SHARE_MAX = 0.5
"""With more void pairs than this there is no judgement (the host was not fit for one)."""

BLOCKS, SHAM = "blocks", "sham"  # the two seeded streams of coins


@dataclass(frozen=True, slots=True)
class Block:
    """One stretch with the aggressor on or off; pairs before the first judged one are negative."""

    pair: int
    on: bool
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class PairedBlocks:
    """The design of one paired-block phase. The defaults were measured on a noisy 2-core machine.

    looks: after how many pairs to look (20 decide large effects, 60 were enough for 10 %).
    block_seconds: short, so that drift and strangers hit both blocks of a pair alike (0.5 s found
    0.72 of +30 % effects where 2 s blocks found 0.23); washout_seconds: dropped at each start.
    margin: the slowdown that is still fine (R4, R5: others degrade < 10 %); alpha: one-sided false
    alarm rate of the whole phase, split over the looks (Bonferroni; see `alpha_at`).
    quantile: of latency, per block; requests_min: fewer in a block make its pair void, for a p95
    needs 40 values to be more than the maximum; warm_up_pairs: run but never judged.
    """

    looks: tuple[int, ...] = (20, 40, 60)
    block_seconds: float = 0.5
    washout_seconds: float = 0.1
    margin: float = 0.10
    alpha: float = 0.01
    quantile: float = 0.95
    requests_min: int = 40
    warm_up_pairs: int = 1

    def __post_init__(self) -> None:
        if not self.looks or self.looks[0] < 1 or any(a >= b for a, b in pairwise(self.looks)):
            raise ValueError(f"looks must rise, from 1 on: {self.looks}")
        if not 0 <= self.washout_seconds < self.block_seconds:
            raise ValueError("the washout must be shorter than a block")

    @property
    def pair_seconds(self) -> float:
        """How long one pair takes."""
        return 2 * self.block_seconds

    @property
    def seconds(self) -> float:
        """The longest the phase can take, warm-up included."""
        return self.look_seconds()[-1]

    def alpha_at(self, pairs: int) -> float:
        """What a look after `pairs` pairs may spend of `alpha`: the later the look, the more."""
        return self.alpha * max(1, pairs) / sum(self.looks)

    def look_seconds(self) -> tuple[float, ...]:
        """When, since the phase's start, the pairs of each look are complete."""
        return tuple((self.warm_up_pairs + look) * self.pair_seconds for look in self.looks)

    def pairs_within(self, seconds: float) -> int:
        """How many judged pairs are complete `seconds` after the phase's start."""
        complete = int(seconds / self.pair_seconds + 1e-6) - self.warm_up_pairs
        return max(0, min(complete, self.looks[-1]))

    def blocks(self, seed: int) -> tuple[Block, ...]:
        """Every block of the phase in order; a coin seeded by `seed` orders each pair."""
        return _blocks(self, seed, BLOCKS)

    def gate(self, seed: int) -> tuple[tuple[float, float], ...]:
        """When the aggressor is on, (start, end) in seconds since the phase's start, merged."""
        merged: list[tuple[float, float]] = []
        for block in self.blocks(seed):
            if block.on and merged and merged[-1][1] == block.start_seconds:
                merged[-1] = (merged[-1][0], block.end_seconds)
            elif block.on:
                merged.append((block.start_seconds, block.end_seconds))
        return tuple(merged)


@lru_cache(maxsize=64)
def _blocks(design: PairedBlocks, seed: int, coins: str) -> tuple[Block, ...]:
    coin = stream(seed, coins)
    blocks: list[Block] = []
    for pair in range(-design.warm_up_pairs, design.looks[-1]):
        for on in (True, False) if coin.random() < 0.5 else (False, True):
            serial = len(blocks)
            start, end = serial * design.block_seconds, (serial + 1) * design.block_seconds
            blocks.append(Block(pair, on, start, end))
    return tuple(blocks)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times slower with the aggressor on: estimate and one-sided limits, multiplicative.

    pairs: compared; void: left out; sd_ln: spread of the pairs' ln ratios;
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


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the looks came to: `look` is the number of pairs at the last one, 0 without any."""

    status: Status
    ratio: Ratio
    look: int


def compare(
    design: PairedBlocks,
    seed: int,
    due_seconds: Floats,
    latency_ms: Floats,
    *,
    pairs: int,
    void: Intervals = (),
    quantile: float | None = None,
) -> Ratio:
    """Compare on with off over the first `pairs` pairs.

    due_seconds: since the phase's start; latency_ms: from due to done, infinite unless OK (dropped,
    refused and unfinished requests are infinite too). void: stalls of the host; the pairs they
    touch are left out. quantile: another than the design's, for information only.
    """
    blocks = _blocks(design, seed, BLOCKS)
    at = quantile or design.quantile
    return _compared(design, blocks, due_seconds, latency_ms, pairs, void, at)


def sham(
    design: PairedBlocks,
    seed: int,
    due_seconds: Floats,
    latency_ms: Floats,
    *,
    seconds: float,
    void: Intervals = (),
) -> Ratio:
    """The same comparison on a phase of `seconds` without any aggressor: its true ratio is 1."""
    blocks = _blocks(design, seed, SHAM)
    pairs = design.pairs_within(seconds)
    return _compared(design, blocks, due_seconds, latency_ms, pairs, void, design.quantile)


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
    void: Intervals = (),
) -> Judgement:
    """Look after 20, 40, 60 pairs and stop at the first answer, exactly as a live run does.

    The answer is the same live and afterwards provided that what was due before a look is over
    (or censored as infinite for good) when the look is taken.
    """
    done = [look for look in design.looks if look <= pairs_available]
    ratio = _nothing()
    for look in done:
        ratio = compare(design, seed, due_seconds, latency_ms, pairs=look, void=void)
        status = decide(design, ratio, look=look)
        if status is not Status.UNKNOWN:
            return Judgement(status, ratio, look)
    return Judgement(Status.UNKNOWN, ratio, done[-1] if done else 0)


def live_judgement(
    design: PairedBlocks, seed: int, ops: Sequence[Op], *, since_ns: int, pairs: int
) -> Status:
    """One look while the phase runs: `ops` are the pooled victims', `since_ns` the phase's start.

    Only operations that ended are known here, so this decides when to stop, never the verdict.
    """
    due_seconds, latency_ms = series(ops, since_ns=since_ns)
    ratio = compare(design, seed, due_seconds, latency_ms, pairs=pairs)
    return decide(design, ratio, look=pairs)


def ratio_of(design: PairedBlocks, ln_ratios: Floats, *, pairs: int, requests: Floats) -> Ratio:
    """The ratio that the `ln_ratios` of the kept ones of `pairs` support at their look's level."""
    alpha, normal = design.alpha_at(pairs), NormalDist()
    estimate, lower, upper = limits(ln_ratios, alpha)
    z_alpha, z_power = normal.inv_cdf(1 - alpha), normal.inv_cdf(POWER)
    # Half the width between the limits is z_alpha standard errors, whatever the noise looks like.
    effect = (upper - lower) / 2 * (z_alpha + z_power) / z_alpha
    needed = pairs * (effect / log(1 + design.margin)) ** 2 if effect < inf else inf
    finite = ln_ratios[np.isfinite(ln_ratios)]
    return Ratio(
        estimate=exp_of(estimate),
        lower=exp_of(lower),
        upper=exp_of(upper),
        pairs=len(ln_ratios),
        void=pairs - len(ln_ratios),
        sd_ln=float(np.std(finite, ddof=1)) if len(finite) > 1 else inf,
        requests_median=float(np.median(requests)) if len(requests) else 0.0,
        detectable=exp_of(effect),
        seconds_to_detect_margin=(needed + design.warm_up_pairs) * design.pair_seconds,
    )


def sides(design: PairedBlocks, blocks: tuple[Block, ...], due_seconds: Floats, pairs: int) -> Ints:
    """For every request the side it belongs to, 2 * pair + on; -1 outside pairs or in a washout."""
    code = np.array([2 * b.pair + b.on if 0 <= b.pair < pairs else -1 for b in blocks] + [-1])
    serial = np.floor(due_seconds / design.block_seconds).astype(np.int64)
    within = due_seconds - serial * design.block_seconds >= design.washout_seconds
    inside = (serial >= 0) & (serial < len(blocks)) & within
    return code[np.where(inside, serial, len(blocks))]


def _compared(
    design: PairedBlocks,
    blocks: tuple[Block, ...],
    due_seconds: Floats,
    latency_ms: Floats,
    pairs: int,
    void: Intervals,
    quantile: float,
) -> Ratio:
    side = sides(design, blocks, due_seconds, pairs)
    used = side >= 0
    quantiles, sizes = ln_quantiles(
        side[used], latency_ms[used], count=2 * pairs, quantile=quantile
    )
    change = difference(quantiles[1::2], quantiles[0::2])
    enough = np.minimum(sizes[0::2], sizes[1::2]) >= design.requests_min
    keep = enough & ~np.isnan(change) & ~stalled(design, void, pairs)
    return ratio_of(design, change[keep], pairs=pairs, requests=sizes.astype(np.float64))


def stalled(design: PairedBlocks, void: Intervals, pairs: int) -> NDArray[np.bool_]:
    """Which of the first `pairs` pairs a void stretch touches."""
    start = (np.arange(pairs) + design.warm_up_pairs) * design.pair_seconds
    touched = np.zeros(pairs, dtype=np.bool_)
    for since, until in void:
        touched |= (start < until) & (start + design.pair_seconds > since)
    return touched


def _nothing() -> Ratio:
    return Ratio(float("nan"), 0.0, inf, 0, 0, inf, 0.0, inf, inf)
