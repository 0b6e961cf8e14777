"""The judge is judged: its level on noise that is not independent, its power, and its rules.

What each rule is for is shown by its mutant: see `test_mutants.py`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.stats.design import Block, PairedBlocks
from lab.stats.host import Host
from lab.stats.paired import compare, decide, judge, live_judgement, sham
from lab.stats.series import Floats, group_quantiles, ln_quantiles, series
from lab.stats.worst import worst_tenant
from lab.verdict import Status
from tests.histories import Noise, bursty_noise, quiet_noise, stream_of
from tests.histories.traces import on_at, simulated

DESIGN = PairedBlocks()


def trace(seed: int, noise: Noise, *, effect: float = 1.0) -> tuple[Floats, Floats]:
    """One phase: due times and latencies, `effect` times slower while the aggressor is on."""
    run = simulated(noise, seed, effect=effect, design=DESIGN)
    return run.due, run.latency


def statuses(runs: int, noise: Noise, effect: float = 1.0) -> list[Status]:
    """The judge's answers on many phases, each with its own seed."""
    found = (trace(seed, noise, effect=effect) for seed in range(runs))
    return [
        judge(DESIGN, seed, *arrays, pairs_available=60).status for seed, arrays in enumerate(found)
    ]


def share(found: list[Status], status: Status) -> float:
    return found.count(status) / len(found)


# --- the design


def test_every_pair_has_one_block_on_and_one_off_and_blocks_follow_each_other() -> None:
    blocks = DESIGN.blocks(3)
    assert [b.pair for b in blocks[::2]] == list(range(-1, 60))
    assert all(
        a.on != b.on and a.pair == b.pair for a, b in zip(blocks[::2], blocks[1::2], strict=True)
    )
    assert all(a.end_seconds == b.start_seconds for a, b in pairwise(blocks))
    assert blocks[-1].end_seconds == DESIGN.seconds == DESIGN.look_seconds()[-1] == 61.0
    assert DESIGN.look_seconds() == (21.0, 41.0, 61.0)


def test_the_order_inside_pairs_is_a_coin_that_the_seed_decides() -> None:
    first = [block.on for block in DESIGN.blocks(1)[::2]]
    assert 15 < sum(first) < 46
    assert first != [block.on for block in DESIGN.blocks(2)[::2]]
    assert DESIGN.blocks(1) == PairedBlocks().blocks(1)


@given(st.integers(0, 1000))
def test_the_gate_is_the_on_blocks_merged(seed: int) -> None:
    gate = DESIGN.gate(seed)
    assert sum(end - start for start, end in gate) == pytest.approx(DESIGN.seconds / 2)
    assert all(a[1] < b[0] for a, b in pairwise(gate))
    for block in DESIGN.blocks(seed):
        inside = any(s <= block.start_seconds and block.end_seconds <= e for s, e in gate)
        assert inside == block.on


def test_pairs_within_counts_complete_pairs_past_the_warm_up() -> None:
    assert [DESIGN.pairs_within(s) for s in (0, 0.9, 1.9, 2.0, 20.99, 21.0, 21.4, 999)] == [
        0, 0, 0, 1, 19, 20, 20, 60,
    ]  # fmt: skip


@pytest.mark.parametrize("broken", [{"looks": ()}, {"looks": (20, 20)}, {"washout_seconds": 0.5}])
def test_a_design_that_makes_no_sense_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"looks|washout"):
        replace(DESIGN, **broken)


# --- level and power


def test_harmless_runs_on_a_bursty_host_are_hardly_ever_called_a_violation() -> None:
    found = statuses(300, bursty_noise)
    assert share(found, Status.VIOLATED) <= 0.005


def test_the_level_holds_at_the_margin_itself() -> None:
    found = statuses(300, quiet_noise, effect=1 + DESIGN.margin)
    assert share(found, Status.VIOLATED) <= 0.02
    assert share(found, Status.HELD) <= 0.02


def test_a_quiet_host_without_an_effect_is_held() -> None:
    assert share(statuses(100, quiet_noise), Status.HELD) >= 0.95


def test_a_fifth_slower_is_found_on_a_quiet_host() -> None:
    assert share(statuses(200, quiet_noise, effect=1.2), Status.VIOLATED) >= 0.95


def test_the_limits_cover_the_true_ratio() -> None:
    missed = 0
    for seed in range(200):
        due, latency = trace(seed, bursty_noise, effect=1.3)
        ratio = compare(DESIGN, seed, due, latency, pairs=40)
        missed += not ratio.lower <= 1.3 <= ratio.upper
    assert missed <= 6


# --- the rules


def test_the_warm_up_pair_is_never_judged() -> None:
    due, latency = trace(4, quiet_noise)
    spoiled = np.where(due < DESIGN.pair_seconds, inf, latency)
    first = compare(DESIGN, 4, due, latency, pairs=20)
    assert compare(DESIGN, 4, due, spoiled, pairs=20) == first


def test_failing_fast_is_infinitely_slow() -> None:
    due, latency = trace(5, quiet_noise)
    failing = np.where(on_at(DESIGN, 5, due) & (np.arange(len(due)) % 5 == 0), inf, latency)
    found = judge(DESIGN, 5, due, failing, pairs_available=60)
    assert (found.status, found.ratio.estimate, found.look) == (Status.VIOLATED, inf, 20)
    assert compare(DESIGN, 5, due, failing, pairs=20, quantile=0.5).estimate < 1.5


def test_a_system_that_is_down_all_the_time_gives_no_information() -> None:
    due, _ = trace(6, quiet_noise)
    found = judge(DESIGN, 6, due, np.full(len(due), inf), pairs_available=60)
    assert (found.status, found.ratio.pairs, found.ratio.void) == (Status.UNKNOWN, 0, 60)


def test_a_pair_with_too_few_requests_is_void_and_too_many_of_them_are_unknown() -> None:
    due, latency = trace(7, quiet_noise, effect=3.0)
    thin = np.arange(len(due)) % 4 == 0  # about 25 a block
    found = judge(DESIGN, 7, due[thin], latency[thin], pairs_available=60)
    assert found.status is Status.UNKNOWN
    assert found.ratio.void > 55


def test_a_pair_touched_by_a_stall_is_void() -> None:
    due, latency = trace(8, quiet_noise)
    whole = compare(DESIGN, 8, due, latency, pairs=20)
    host = Host(stalls=((3.9, 4.1), (100.0, 101.0)))
    void = compare(DESIGN, 8, due, latency, pairs=20, host=host)
    assert (whole.void, void.void, void.pairs) == (0, 2, 18)


def test_alpha_is_split_over_the_looks_and_between_the_cohort_and_its_tenants() -> None:
    due, latency = trace(9, quiet_noise)
    one = compare(replace(DESIGN, looks=(20,)), 9, due, latency, pairs=20)
    three = compare(DESIGN, 9, due, latency, pairs=20)
    pooled = sum(DESIGN.alpha_at(look) for look in DESIGN.looks)
    tenants = sum(DESIGN.tenants_alpha_at(look) for look in DESIGN.looks)
    assert pooled + tenants == pytest.approx(DESIGN.alpha)
    assert pooled > tenants > 0
    assert three.lower < one.lower < one.upper < three.upper


# --- looks


def test_a_look_stops_at_the_first_answer_and_never_reads_past_its_pairs() -> None:
    due, latency = trace(10, quiet_noise, effect=3.0)
    found = judge(DESIGN, 10, due, latency, pairs_available=60)
    assert (found.status, found.look) == (Status.VIOLATED, 20)
    known = due < DESIGN.look_seconds()[0]
    assert judge(DESIGN, 10, due[known], latency[known], pairs_available=20) == found


def test_a_live_look_on_a_crowded_host_goes_on_as_the_verdict_would() -> None:
    due, latency = trace(11, quiet_noise, effect=3.0)
    ops = stream_of(due, latency, start=0.0, name="attack")
    at = np.arange(0, 70, 0.5)
    crowded = Host((), at, 0.9 * at, 0 * at)
    assert live_judgement(DESIGN, 11, ops, since_ns=0, pairs=20) is Status.VIOLATED
    live = live_judgement(DESIGN, 11, ops, since_ns=0, pairs=20, host=crowded)
    rows = series(ops, since_ns=0)
    assert live is judge(DESIGN, 11, *rows, pairs_available=20, host=crowded).status
    assert live is Status.UNKNOWN


def test_too_few_pairs_for_a_look_are_unknown() -> None:
    due, latency = trace(11, quiet_noise, effect=3.0)
    found = judge(DESIGN, 11, due, latency, pairs_available=19)
    assert (found.status, found.look, found.ratio.pairs) == (Status.UNKNOWN, 0, 0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 1.1, 1.4]))
def test_live_looks_give_the_answer_that_is_given_afterwards(seed: int, effect: float) -> None:
    due, latency = trace(seed, quiet_noise, effect=effect)
    ops = stream_of(due, latency, start=100.0, name="attack")
    rows = series(ops, since_ns=100 * 10**9)
    live = Status.UNKNOWN
    for look, end in zip(DESIGN.looks, DESIGN.look_seconds(), strict=True):
        so_far = [op for op in ops if op.due_ns < (100 + end) * 10**9]
        live = live_judgement(DESIGN, seed, so_far, since_ns=100 * 10**9, pairs=look)
        if live is not Status.UNKNOWN:
            assert judge(DESIGN, seed, *rows, pairs_available=look).status is live
            break
    assert judge(DESIGN, seed, *rows, pairs_available=60).status is live


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.randoms())
def test_the_order_of_rows_and_the_unit_of_time_change_nothing(
    seed: int, rng: np.random.Generator
) -> None:
    due, latency = trace(seed, quiet_noise, effect=1.1)
    order = np.random.default_rng(seed).permutation(len(due))
    first = compare(DESIGN, seed, due, latency, pairs=40)
    assert compare(DESIGN, seed, due[order], latency[order], pairs=40) == first
    scaled = compare(DESIGN, seed, due, latency * 1000, pairs=40)
    assert scaled.estimate == pytest.approx(first.estimate)


# --- what is told besides


def test_the_sham_of_a_calm_phase_is_about_one_and_draws_its_own_coins() -> None:
    due, latency = trace(12, quiet_noise)
    ratio = sham(DESIGN, 12, due, latency, seconds=61.0)
    assert ratio.lower <= 1 <= ratio.upper
    assert ratio.pairs == 60
    assert ratio.estimate != compare(DESIGN, 12, due, latency, pairs=60).estimate


def test_a_run_tells_the_effect_it_could_have_seen() -> None:
    due, latency = trace(13, quiet_noise)
    short = compare(DESIGN, 13, due, latency, pairs=20)
    long = compare(DESIGN, 13, due, latency, pairs=60)
    noisy = compare(DESIGN, 13, *trace(13, bursty_noise), pairs=60)
    assert 1 < long.detectable < short.detectable
    assert long.detectable < noisy.detectable
    assert 5 < long.seconds_to_detect_margin < noisy.seconds_to_detect_margin


def test_nothing_decides_nothing() -> None:
    empty = np.empty(0)
    ratio = compare(DESIGN, 1, empty, empty, pairs=20)
    assert (ratio.pairs, ratio.void, ratio.lower, ratio.upper) == (0, 20, 0.0, inf)
    assert decide(DESIGN, ratio, look=20) is Status.UNKNOWN


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 100) | st.just(inf)), max_size=60))
def test_group_quantiles_are_order_statistics(rows: list[tuple[int, float]]) -> None:
    groups = np.array([group for group, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float64)
    found, sizes = group_quantiles(groups, values, count=4, quantile=0.95)
    for group in range(4):
        own = values[groups == group]
        assert sizes[group] == len(own)
        if len(own):
            assert found[group] == np.quantile(own, 0.95, method="inverted_cdf")
        else:
            assert np.isnan(found[group])


@given(st.integers(1, 200), st.integers(0, 60), st.integers(0, 1000))
def test_the_smoothed_quantile_lies_beside_the_plain_one_and_is_infinite_just_when_that_is(
    size: int, failed: int, seed: int
) -> None:
    values = np.random.default_rng(seed).lognormal(1, 0.5, size)
    values[:failed] = inf
    groups = np.zeros(size, dtype=np.int64)
    plain = group_quantiles(groups, values, count=1, quantile=0.95)[0][0]
    smooth = np.exp(ln_quantiles(groups, values, count=1, quantile=0.95)[0][0])
    assert np.isinf(smooth) == np.isinf(plain)
    if np.isfinite(plain):
        reach = int(np.sqrt(size * 0.95 * 0.05))
        ordered = np.sort(values)
        at = int(np.searchsorted(ordered, float(plain)))
        low, high = ordered[max(0, at - reach)], ordered[min(size - 1, at + reach)]
        assert low * 0.999 <= smooth <= high * 1.001


# --- every tenant by itself


def split(due: Floats, latency: Floats, names: int) -> dict[str, tuple[Floats, Floats]]:
    return {f"quiet-{n}": (due[n::names], latency[n::names]) for n in range(names)}


def test_the_one_tenant_that_suffers_is_found_and_named() -> None:
    due, latency = trace(14, quiet_noise)
    victim = np.arange(len(due)) % 3 == 1
    latency = np.where(victim & on_at(DESIGN, 14, due), 3.0, 1.0) * latency
    found = worst_tenant(DESIGN, 14, split(due, latency, 3), pairs=60)
    assert [t.tenant for t in found if t.slower] == ["quiet-1"]
    assert found[0].tenant == "quiet-1"
    assert found[0].ratio.estimate == pytest.approx(3.0, rel=0.3)


def test_no_tenant_is_accused_on_noise() -> None:
    accused = 0
    for seed in range(150):
        due, latency = trace(seed, bursty_noise)
        accused += any(
            t.slower for t in worst_tenant(DESIGN, seed, split(due, latency, 4), pairs=60)
        )
    assert accused <= 2


def test_a_tenant_with_too_few_requests_is_not_judged() -> None:
    due, latency = trace(15, quiet_noise, effect=5.0)
    assert worst_tenant(DESIGN, 15, split(due, latency, 200), pairs=60) == ()
    assert worst_tenant(DESIGN, 15, {}, pairs=60) == ()


def test_a_block_is_a_plain_value() -> None:
    assert DESIGN.blocks(1)[0] == Block(-1, DESIGN.blocks(1)[0].on, 0.0, 0.5)
