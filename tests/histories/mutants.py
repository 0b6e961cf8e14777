"""The judge with one of its rules broken, each beside a phase on which only the sound one is right.

A phase is calm (truth: HELD) or attacked (truth: VIOLATED). The sound judge may say the truth, or
UNKNOWN where the phase says so; the mutant says something worse. So a lost rule turns a test red.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
from scipy.stats import mannwhitneyu

from lab.stats import design as designs
from lab.stats import paired
from lab.stats.design import Block, PairedBlocks
from lab.stats.host import Host
from lab.stats.paired import decide, ratio_of
from lab.stats.series import Floats, Ints, quantile_of
from lab.verdict import Status
from tests.histories import quiet_noise
from tests.histories.traces import Run, simulated

DESIGN = PairedBlocks()
HELD, UNKNOWN, VIOLATED = Status.HELD, Status.UNKNOWN, Status.VIOLATED
Judge = Callable[[Run], Status]


def sound(run: Run) -> Status:
    """The judge as it is."""
    return run.judged().status


# --- the obvious rules, which others use


def before_after(run: Run) -> Status:
    """The first half of the phase beside the second: slower by more than the margin, or not."""
    late = run.due >= run.design.seconds / 2
    ratio = quantile_of(run.latency[late], 0.95) / quantile_of(run.latency[~late], 0.95)
    return VIOLATED if ratio > 1 + run.design.margin else HELD


def rank_sum(run: Run) -> Status:
    """Mann-Whitney over all latencies, as canary analysis does, at 1 %."""
    told = mannwhitneyu(run.latency[run.on], run.latency[~run.on], alternative="greater")
    return VIOLATED if told.pvalue < 0.01 else HELD


# --- one rule broken


def changed(**settings: float | tuple[int, ...]) -> Judge:
    """Another setting of the design, blocks and coins as they were."""
    return lambda run: sound(replace(run, design=replace(run.design, **settings)))  # pyright: ignore[reportArgumentType]


def of_means(run: Run) -> Status:
    """Means instead of the quantile."""

    def means(groups: Ints, values: Floats, *, count: int, quantile: float) -> tuple[Floats, Ints]:
        sizes = np.bincount(groups, minlength=count)
        return np.log(np.bincount(groups, values, minlength=count) / sizes), sizes

    with patch.object(paired, "ln_quantiles", means):
        return sound(run)


def fixed_order(run: Run) -> Status:
    """Off first, then on, in every pair."""

    def fixed(design: PairedBlocks, seed: int, coins: str) -> tuple[Block, ...]:
        width = design.block_seconds
        return tuple(
            Block(n // 2 - design.warm_up_pairs, n % 2 == 1, n * width, (n + 1) * width)
            for n in range(2 * (design.warm_up_pairs + design.looks[-1]))
        )

    with patch.object(designs, "_blocks", fixed):
        return sound(run)


def from_sending(run: Run) -> Status:
    """Latency from when the request was sent, in the block it was sent in."""
    return sound(replace(run, due=run.due + run.lag_ms / 1e3, latency=run.latency - run.lag_ms))


def failures_left_out(run: Run) -> Status:
    """Only answers count."""
    fine = np.isfinite(run.latency)
    return sound(
        replace(run, due=run.due[fine], latency=run.latency[fine], lag_ms=run.lag_ms[fine])
    )


def nobody(*_: object) -> np.ndarray:
    """No pair."""
    return np.zeros(0, dtype=np.bool_)


def stalls_forgiven(run: Run) -> Status:
    """A pair with a stall is left out, whoever was on."""
    with patch.object(Host, "stalled_on", nobody):
        return sound(run)


def gate_by_latency(run: Run) -> Status:
    """Pairs with an unusually slow block are set aside as noise."""
    pairs = run.design.looks[-1]
    change, _ = paired.changes(run.design, run.seed, run.due, run.latency, pairs, 0.95)
    starts = run.design.pair_starts(pairs)[np.abs(change) > 0.4]
    stalls = tuple((start + 0.2, start + 0.3) for start in starts.tolist())
    with patch.object(Host, "stalled_on", nobody):
        return sound(replace(run, host=Host(stalls)))


# --- the phases


def calm(seed: int, *, design: PairedBlocks = DESIGN, per_second: float = 250) -> Run:
    """Nobody attacks, on a quiet host."""
    return simulated(quiet_noise, seed, design=design, per_second=per_second)


def rare_giants() -> Run:
    """One request in 250 takes three seconds while the aggressor is on; the p95 does not move."""
    run = calm(1)
    rare = run.on & (np.random.default_rng(0).random(len(run.due)) < 0.004)
    return replace(run, latency=np.where(rare, 3000.0, run.latency))


def slow_tenth() -> Run:
    """One request in ten is four times slower while the aggressor is on; the median stays."""
    run = calm(2)
    hit = run.on & (np.random.default_rng(0).random(len(run.due)) < 0.1)
    return replace(run, latency=np.where(hit, 4.0, 1.0) * run.latency)


def every_second_half() -> Run:
    """The host is slower by 30 % in every second half of a pair, whoever is on."""
    run = calm(3)
    late = run.due % DESIGN.pair_seconds >= DESIGN.block_seconds
    return replace(run, latency=np.where(late, 1.3, 1.0) * run.latency)


def stops_at_the_end() -> Run:
    """The server stops for the last 0.3 s of every on-block: what was due then is sent late."""
    run = calm(4)
    stops = np.array([b.end_seconds for b in DESIGN.blocks(run.seed) if b.on])
    following = stops[np.minimum(np.searchsorted(stops, run.due), len(stops) - 1)]
    ahead = following - run.due
    waiting = np.where((ahead > 0) & (ahead < 0.3), ahead, 0.0) * 1e3
    return replace(run, latency=run.latency + waiting, lag_ms=waiting)


def drains_into_the_next() -> Run:
    """The aggressor costs 30 %, and its queue drains for 0.08 s into the block after it."""
    run = calm(5)
    before = on_before(run, 0.08)
    slow = np.where(run.on | before, 1.3, 1.0) * run.latency
    slow[~run.on & before] *= 20
    return replace(run, latency=slow)


def on_before(run: Run, seconds: float) -> np.ndarray:
    """Whether the aggressor was on a moment earlier."""
    return replace(run, due=np.maximum(0.0, run.due - seconds)).on


def fails_fast() -> Run:
    """A fifth of what is asked while the aggressor is on fails."""
    run = calm(6)
    failing = run.on & (np.arange(len(run.due)) % 5 == 0)
    return replace(run, latency=np.where(failing, np.inf, run.latency))


def stalls_when_on() -> Run:
    """The aggressor freezes the machine for a moment in every fourth of its blocks."""
    run = calm(7)
    on = [b for b in DESIGN.blocks(run.seed) if b.on and b.pair >= 0][::4]
    return replace(
        run, host=Host(tuple((b.start_seconds + 0.2, b.start_seconds + 0.3) for b in on))
    )


def thin() -> Run:
    """A very even host and 15 requests a block: what the p95 of a block is, nobody can tell."""
    run = calm(8, per_second=38)
    return replace(run, latency=run.latency**0.1)


def drifting() -> Run:
    """The host gets slower by half, evenly, while nobody attacks."""
    run = calm(9)
    return replace(run, latency=run.latency * (1 + 0.5 * run.due / DESIGN.seconds))


def within_the_margin() -> Run:
    """Six per cent slower: an effect, but one that is allowed."""
    run = calm(10, per_second=500)
    return replace(run, latency=np.where(run.on, 1.06, 1.0) * run.latency)


def half_of_the_blocks() -> Run:
    """Every other on-block is slower by half, the rest by a fifth."""
    run = calm(11)
    odd = (run.due / DESIGN.pair_seconds).astype(int) % 2 == 1
    return replace(run, latency=np.where(run.on, np.where(odd, 2.0, 1.2), 1.0) * run.latency)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken judge, the phase that shows it, and what the sound one says of it."""

    judge: Judge
    phase: Callable[[], Run]
    sound: Status


MUTANTS: dict[str, Mutant] = {
    "before and after": Mutant(before_after, drifting, HELD),
    "rank sum of latencies": Mutant(rank_sum, within_the_margin, HELD),
    "no margin": Mutant(changed(margin=1e-6), within_the_margin, HELD),
    "mean instead of p95": Mutant(of_means, rare_giants, HELD),
    "median instead of p95": Mutant(changed(quantile=0.5), slow_tenth, VIOLATED),
    "fixed order": Mutant(fixed_order, every_second_half, UNKNOWN),
    "latency from sending": Mutant(from_sending, stops_at_the_end, VIOLATED),
    "no washout": Mutant(changed(washout_seconds=0.0), drains_into_the_next, VIOLATED),
    "failures left out": Mutant(failures_left_out, fails_fast, VIOLATED),
    "stalls forgiven": Mutant(stalls_forgiven, stalls_when_on, UNKNOWN),
    "thin blocks count": Mutant(changed(requests_min=1), thin, UNKNOWN),
    "gate by latency": Mutant(gate_by_latency, half_of_the_blocks, VIOLATED),
}
"""Those that one phase shows; for rules about error rates see `error_rate`."""


def error_rate(
    design: PairedBlocks, alphas: Sequence[float], runs: int = 2000, wrong: Status = VIOLATED
) -> float:
    """How often looks at these levels say `wrong` of a slowdown of exactly the margin."""
    times = 0
    for seed in range(runs):
        noise = np.random.default_rng(seed).normal(np.log(1 + design.margin), 0.15, 60)
        for look, alpha in zip(design.looks, alphas, strict=True):
            seen = noise[:look]
            ratio = ratio_of(design, seen, pairs=look, alpha=alpha, requests=seen)
            if (status := decide(design, ratio, look=look)) is not UNKNOWN:
                times += status is wrong
                break
    return times / runs
