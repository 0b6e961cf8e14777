"""The three questions of the latency verifier, each with a run that only it decides."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from lab.history import History, Op, Outcome
from lab.journal import Event, Sampled
from lab.stats.design import PairedBlocks
from lab.stats.series import Floats
from lab.verdict import Status, Verdict
from lab.verifiers.latency import neighbours_keep_their_p95
from tests.histories import (
    SEED,
    Noise,
    arrivals,
    bursty_noise,
    ns,
    op,
    phase,
    quiet_noise,
    stream_of,
    timed_out,
    told,
)

HELD, UNKNOWN, VIOLATED = Status.HELD, Status.UNKNOWN, Status.VIOLATED
DESIGN = PairedBlocks(looks=(16, 32))
ATTACK_AT = 20.0
PAIRED = neighbours_keep_their_p95(DESIGN)
SUSTAINED = neighbours_keep_their_p95(DESIGN, sustained=("baseline", "sustained", "recovery"))
TIMES = {"baseline": (0.0, 10.0), "sustained": (60.0, 70.0), "recovery": (70.0, 80.0)}
EVENTS: tuple[Event, ...] = (
    *phase("baseline", *TIMES["baseline"]),
    *phase("attack", ATTACK_AT, ATTACK_AT + DESIGN.seconds + 0.3),
    *phase("sustained", *TIMES["sustained"]),
    *phase("recovery", *TIMES["recovery"]),
)


def attacked(
    effect: float = 1.0,
    *,
    victim: str = "",
    seed: int = 5,
    noise: Noise = quiet_noise,
    lost: bool = False,
) -> list[Op]:
    """The paired phase: `effect` times slower (or lost) in the on blocks, for all or one victim."""
    rng = np.random.default_rng(seed)
    due = arrivals(rng, DESIGN.seconds, 250)
    latency = noise(rng, due)
    who = np.array([f"quiet-{n % 3}" for n in range(len(due))])
    gate = DESIGN.gate(SEED)
    on = np.array([any(start <= at < end for start, end in gate) for at in due.tolist()])
    hit = on & ((who == victim) | (victim == ""))
    slow: Floats = np.where(hit, np.inf if lost else effect * latency, latency)
    return stream_of(due, slow, start=ATTACK_AT, name="attack")


def calm(name: str, factor: float = 1.0, *, per_second: float = 100, lost: float = 0.0) -> list[Op]:
    """An unpaired phase, `factor` times slower than usual, with a share of it lost."""
    start, end = TIMES[name]
    rng = np.random.default_rng(int(start) + 3)
    due = arrivals(rng, end - start, per_second)
    latency = factor * quiet_noise(rng, due)
    latency[rng.random(len(due)) < lost] = np.inf
    return stream_of(due, latency, start=start, name=name)


def whole(attack: list[Op], sustained: list[Op], *events: Event) -> History:
    return told([*calm("baseline"), *attack, *sustained, *calm("recovery")], *EVENTS, *events)


def test_neighbours_that_feel_nothing_are_held() -> None:
    verdict = SUSTAINED(whole(attacked(), calm("sustained")))
    assert verdict.status is HELD
    assert verdict.measured["ratio_upper"] < 1.10
    assert verdict.exposures["pairs"] in DESIGN.looks
    assert {"p50_ratio", "p90_ratio", "p99_ratio", "detectable_ratio"} <= set(verdict.measured)
    assert {"sham_p95_ratio", "sham_pairs", "sustained_ratio"} <= set(verdict.measured)


def test_neighbours_that_are_slowed_are_a_violation() -> None:
    verdict = PAIRED(told(attacked(1.6), *EVENTS))
    assert verdict.status is VIOLATED
    assert verdict.measured["ratio_lower"] > 1.10
    assert verdict.measured["p95_ratio"] == pytest.approx(1.6, rel=0.15)


def test_neighbours_that_get_no_answer_are_a_violation_that_can_be_written_down() -> None:
    verdict = PAIRED(told(attacked(lost=True), *EVENTS))
    assert verdict.status is VIOLATED
    assert "inf" in verdict.reason
    assert "p95_ratio" not in verdict.measured
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
    assert json.loads(msgspec.json.encode(verdict))


def test_the_one_tenant_that_is_slowed_is_named() -> None:
    verdict = PAIRED(told(attacked(6.0, victim="quiet-2"), *EVENTS))
    assert verdict.status is VIOLATED
    assert "too slow: quiet-2" in verdict.reason
    assert verdict.exposures["tenants_judged"] == 3


def test_what_builds_up_slowly_is_seen_by_the_sustained_attack_alone() -> None:
    verdict = SUSTAINED(whole(attacked(), calm("sustained", 3.0)))
    assert verdict.status is VIOLATED
    assert verdict.measured["sustained_ratio"] == pytest.approx(3.0, rel=0.2)
    assert PAIRED(whole(attacked(), calm("sustained", 3.0))).status is HELD


def test_a_sustained_attack_claims_large_effects_only() -> None:
    assert SUSTAINED(whole(attacked(), calm("sustained", 1.5))).status is HELD


def test_a_sustained_attack_that_takes_the_answers_away_is_a_violation() -> None:
    assert SUSTAINED(whole(attacked(), calm("sustained", lost=0.1))).status is VIOLATED


def test_answers_lost_all_at_once_are_lost_however_short_it_was() -> None:
    ops = [
        timed_out(o.tenant, due=o.due_ns / 1e9, phase=o.phase) if o.due_ns < ns(61) else o
        for o in calm("sustained")
    ]
    assert SUSTAINED(whole(attacked(), ops)).status is VIOLATED


def test_a_stall_in_the_sustained_attack_is_not_taken_for_an_effect() -> None:
    stalled = [
        op(o.tenant, due=o.due_ns / 1e9, ms=500, phase=o.phase) if o.due_ns < ns(61) else o
        for o in calm("sustained")
    ]
    verdict = SUSTAINED(whole(attacked(), stalled))
    assert verdict.status is UNKNOWN
    assert verdict.measured["sustained_slow_seconds_share"] == pytest.approx(0.1)


def test_a_sustained_attack_with_too_few_requests_or_no_calm_is_unknown() -> None:
    assert SUSTAINED(whole(attacked(), calm("sustained", per_second=10))).status is UNKNOWN
    unsteady = [*calm("baseline", lost=0.1), *attacked(), *calm("sustained"), *calm("recovery")]
    assert SUSTAINED(told(unsteady, *EVENTS)).status is UNKNOWN


def test_a_phase_cut_short_before_the_first_look_is_unknown() -> None:
    short = told(attacked(3.0), *phase("attack", ATTACK_AT, ATTACK_AT + 12))
    verdict = PAIRED(short)
    assert (verdict.status, "first look" in verdict.reason) == (UNKNOWN, True)
    assert PAIRED(told(attacked(3.0))).status is UNKNOWN


def test_too_few_requests_a_block_are_never_held() -> None:
    thin = [o for n, o in enumerate(attacked()) if n % 4 == 0]
    verdict = PAIRED(told(thin, *EVENTS))
    assert verdict.status is UNKNOWN
    assert "of them void" in verdict.reason


def test_a_noisy_host_is_unknown_and_the_run_says_what_it_could_have_seen() -> None:
    verdict = PAIRED(told(attacked(1.1, noise=bursty_noise), *EVENTS))
    assert verdict.status is UNKNOWN
    assert verdict.measured["detectable_ratio"] > 1.2
    assert verdict.measured["seconds_to_detect_margin"] > DESIGN.seconds


def test_pairs_touched_by_a_stall_are_void() -> None:
    stall = Sampled(probe="stall", at_ns=ns(ATTACK_AT + 5.2), values={"stall_ms": 400.0})
    verdict = PAIRED(told(attacked(), *EVENTS, stall))
    assert verdict.exposures["pairs_void"] == 2 or verdict.exposures["pairs_void"] == 1


def test_the_start_of_the_load_is_where_the_blocks_begin() -> None:
    # Faults and counters took 0.4 s after the phase was entered; the blocks began after them.
    late = [
        *phase("attack", ATTACK_AT - 0.4, ATTACK_AT + DESIGN.seconds + 0.3),
        Sampled(probe="load attack", at_ns=ns(ATTACK_AT)),
    ]
    told_so = PAIRED(told(attacked(1.6), *late))
    assert told_so.measured["p95_ratio"] == pytest.approx(1.6, rel=0.15)
    assert PAIRED(told(attacked(1.6), *late[:2])).measured["p95_ratio"] < 1.3


def test_what_the_lab_cut_off_itself_is_not_slow() -> None:
    rng = np.random.default_rng(0)
    cut = [
        op(due=ATTACK_AT + at, phase="attack", outcome=Outcome.INFO, error="abandoned")
        for start, end in DESIGN.gate(SEED)
        for at in rng.uniform(start, end, 50).tolist()
    ]
    assert PAIRED(told([*attacked(), *cut], *EVENTS)).status is HELD


def test_permuting_rows_and_renaming_tenants_change_nothing() -> None:
    ops = attacked(1.3)
    renamed = [msgspec.structs.replace(o, tenant=o.tenant.replace("quiet", "calm")) for o in ops]
    verdict = PAIRED(told(ops, *EVENTS))
    assert PAIRED(told(reversed(ops), *EVENTS)) == verdict
    assert PAIRED(told(renamed, *EVENTS)) == verdict


def test_neighbours_that_stopped_being_answered_are_violated_even_without_a_calm_afterwards() -> (
    None
):
    ops = [*calm("baseline"), *attacked(), *calm("sustained", lost=1), *calm("recovery", lost=1)]
    verdict = SUSTAINED(told(ops, *EVENTS))
    assert verdict.status is VIOLATED
    assert "under attack" in verdict.reason


def test_neighbours_that_were_not_answered_before_either_prove_nothing() -> None:
    ops = [*calm("baseline", lost=1), *calm("sustained", lost=1), *calm("recovery", lost=1)]
    assert SUSTAINED(told([*ops, *attacked()], *EVENTS)).status is UNKNOWN


def test_a_long_attack_that_is_a_little_slower_is_neither_held_nor_violated() -> None:
    assert SUSTAINED(whole(attacked(), calm("sustained", 1.7))).status is UNKNOWN


def test_harm_that_outlasts_the_attack_does_not_pass_for_calm() -> None:
    ops = [*calm("baseline"), *attacked(), *calm("sustained", 10), *calm("recovery", 8)]
    assert SUSTAINED(told(ops, *EVENTS)).status is not HELD


def test_harm_that_comes_in_the_off_blocks_is_not_held() -> None:
    verdict = PAIRED(told(attacked(0.2), *EVENTS))
    assert verdict.status is UNKNOWN
    assert "lags" in verdict.reason


def test_one_tenant_that_is_not_answered_any_more_is_a_violation() -> None:
    sustained = [
        timed_out(o.tenant, due=o.due_ns / 1e9, phase="sustained") if o.tenant == "quiet-1" else o
        for o in calm("sustained", per_second=1000)
    ]
    before = calm("baseline", per_second=1000)
    names = {o.tenant for o in before}
    kept = [o for n, o in enumerate(sustained) if o.tenant != "quiet-1" or n % 25 == 0]
    ops = [*before, *attacked(), *kept, *calm("recovery", per_second=1000)]
    verdict = SUSTAINED(told(ops, *EVENTS))
    assert "quiet-1" in names
    assert verdict.status is VIOLATED
    assert "quiet-1" in verdict.reason
