"""The design of a paired-block phase: when the aggressor is on, when to look, what a look may risk.

A value, fixed by the seed before anything is measured, so that no answer can bend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lab.seeds import stream
from lab.stats.series import Floats, Ints

Intervals = Sequence[tuple[float, float]]
"""Stretches of time, (start, end) in seconds since the phase's start."""

Mask = NDArray[np.bool_]
"""One truth a pair."""

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
    alarm rate of the whole phase, the pooled cohort and its single tenants together, split over
    the looks (Bonferroni; see `alpha_at`), tenants_share: how much of it is the tenants'. The rate
    of HELD where it should not be is alpha as well, all of it the cohort's: a single tenant can
    only be accused.
    quantile: of latency, per block; requests_min: fewer in a block make its pair void, for a p95
    needs 40 values to be more than the maximum; warm_up_pairs: run but never judged.
    """

    looks: tuple[int, ...] = (20, 40, 60)
    block_seconds: float = 0.5
    washout_seconds: float = 0.1
    margin: float = 0.10
    alpha: float = 0.01
    tenants_share: float = 0.25
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
        """What a look at the pooled cohort may spend: the later the look, the more."""
        return (1 - self.tenants_share) * self.held_alpha_at(pairs)

    def tenants_alpha_at(self, pairs: int) -> float:
        """What the same look may spend on all single tenants together."""
        return self.tenants_share * self.held_alpha_at(pairs)

    def held_alpha_at(self, pairs: int) -> float:
        """What the same look may spend on a HELD that should not be."""
        return self.alpha * max(1, pairs) / sum(self.looks)

    def look_seconds(self) -> tuple[float, ...]:
        """When, since the phase's start, the pairs of each look are complete."""
        return tuple((self.warm_up_pairs + look) * self.pair_seconds for look in self.looks)

    def pairs_within(self, seconds: float) -> int:
        """How many judged pairs are complete `seconds` after the phase's start."""
        complete = int(seconds / self.pair_seconds + 1e-6) - self.warm_up_pairs
        return max(0, min(complete, self.looks[-1]))

    def pair_starts(self, pairs: int) -> Floats:
        """When each of the first `pairs` judged pairs begins, since the phase's start."""
        return (np.arange(pairs, dtype=np.float64) + self.warm_up_pairs) * self.pair_seconds

    def blocks(self, seed: int, coins: str = BLOCKS) -> tuple[Block, ...]:
        """Every block of the phase in order; a coin seeded by `seed` orders each pair."""
        return _blocks(self, seed, coins)

    def on_first(self, seed: int, pairs: int, coins: str = BLOCKS) -> Mask:
        """Whether the on-block comes first, for each of the first `pairs` judged pairs."""
        firsts = self.blocks(seed, coins)[::2][self.warm_up_pairs : self.warm_up_pairs + pairs]
        return np.array([block.on for block in firsts], dtype=np.bool_)

    def gate(self, seed: int) -> tuple[tuple[float, float], ...]:
        """When the aggressor is on, (start, end) in seconds since the phase's start, merged."""
        merged: list[tuple[float, float]] = []
        for block in self.blocks(seed):
            if block.on and merged and merged[-1][1] == block.start_seconds:
                merged[-1] = (merged[-1][0], block.end_seconds)
            elif block.on:
                merged.append((block.start_seconds, block.end_seconds))
        return tuple(merged)

    def sides(self, seed: int, due_seconds: Floats, pairs: int, coins: str = BLOCKS) -> Ints:
        """Every request's side, 2 * pair + on; -1 outside the first `pairs` or in a washout."""
        blocks = self.blocks(seed, coins)
        code = np.array([2 * b.pair + b.on if 0 <= b.pair < pairs else -1 for b in blocks] + [-1])
        serial = np.floor(due_seconds / self.block_seconds).astype(np.int64)
        within = due_seconds - serial * self.block_seconds >= self.washout_seconds
        inside = (serial >= 0) & (serial < len(blocks)) & within
        return code[np.where(inside, serial, len(blocks))]


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
