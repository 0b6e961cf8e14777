"""What was not measured well is UNKNOWN: crowded hosts, stalls under attack, a late generator."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from lab.history import Op
from lab.journal import Event, Sampled
from lab.stats.design import PairedBlocks
from lab.verdict import Status, Verdict
from lab.verifiers.latency import neighbours_keep_their_p95
from tests.histories import SEED, ns, op, opened, phase, quiet_noise, stream_of, timed_out
from tests.histories import history as _history
from tests.histories.traces import Run, simulated

DESIGN = PairedBlocks(looks=(16, 32))
START = 20.0
CALM = neighbours_keep_their_p95(DESIGN)
LONG = neighbours_keep_their_p95(DESIGN, sustained=("baseline", "sustained", "recovery"))
EVENTS = (
    *phase("baseline", 0, 10),
    *phase("attack", START, START + DESIGN.seconds + 0.3),
    *phase("sustained", 60, 70),
    *phase("recovery", 70, 80),
)


def attacked(effect: float = 1.0) -> list[Op]:
    run: Run = simulated(quiet_noise, SEED, effect=effect, design=DESIGN)
    return stream_of(run.due, run.latency, start=START, name="attack")


def judged(ops: list[Op], *events: Event, shield: bool = False, judge: object = None) -> Verdict:
    first = msgspec.structs.replace(opened(), shield=shield)
    verifier = CALM if judge is None else LONG
    return verifier(_history(ops, (first, *EVENTS, *events)))


def burning(cores: float, *, since: float = 0.0, rivals: float = 0.0) -> list[Sampled]:
    """Strangers that take `cores` from `since` on, `rivals` of them behind other shields."""
    return [
        Sampled(
            probe="host",
            at_ns=ns(at),
            values={
                "busy_seconds": cores * max(0.0, at - since),
                "own_seconds": 0.0,
                "rival_seconds": rivals * max(0.0, at - since),
                "steal_seconds": 0.0,
            },
        )
        for at in np.arange(0, 80, 0.5).tolist()
    ]


def stall(at: float, ms: float = 600.0) -> Sampled:
    return Sampled(probe="stall", at_ns=ns(START + at), values={"stall_ms": ms})


def late(ops: list[Op], ms: float) -> list[Op]:
    """Sent that much too late, and so done that much too late."""
    return [
        msgspec.structs.replace(
            o, sent_ns=o.due_ns + ns(ms / 1e3), done_ns=o.done_ns + ns(ms / 1e3)
        )
        for o in ops
    ]


@pytest.mark.parametrize("effect", [1.0, 3.0])
def test_strangers_in_most_pairs_make_every_answer_unknown(effect: float) -> None:
    fine = judged(attacked(effect), *burning(0.3))
    assert fine.status is not Status.UNKNOWN
    verdict = judged(attacked(effect), *burning(0.9))
    assert verdict.status is Status.UNKNOWN
    assert "host too noisy: strangers took 0.90 cores, over 0.5 in 32 of 32 pairs" in verdict.reason


def test_strangers_in_a_few_pairs_only_leave_those_out() -> None:
    verdict = judged(attacked(), *burning(0.9, since=START + 26))
    assert verdict.status is Status.HELD
    assert verdict.exposures["pairs_crowded"] in (0, 8)


def test_behind_a_shield_strangers_do_not_matter_but_another_shield_does() -> None:
    assert judged(attacked(), *burning(1.5), shield=True).status is Status.HELD
    rivals = judged(attacked(), *burning(1.5, rivals=1.5), shield=True)
    assert rivals.status is Status.UNKNOWN


def test_a_host_that_nobody_watched_is_told() -> None:
    assert "strangers' CPU not watched" in judged(attacked()).reason
    assert "not watched" not in judged(attacked(), *burning(0.1)).reason


def test_stolen_time_makes_it_unknown() -> None:
    readings = [
        msgspec.structs.replace(r, values=r.values | {"steal_seconds": r.at_ns / 1e9 * 0.05})
        for r in burning(0.1)
    ]
    verdict = judged(attacked(3.0), *readings)
    assert verdict.status is Status.UNKNOWN
    assert "stolen" in verdict.reason


def stalls_in(on: bool, count: int) -> list[Sampled]:
    """A stall within each of the first so many blocks of one kind."""
    blocks = [b for b in DESIGN.blocks(SEED) if b.on is on and b.pair >= 0][:count]
    return [stall(block.start_seconds + 0.3, ms=100.0) for block in blocks]


def test_stalls_that_fall_into_on_blocks_are_feared_and_those_in_off_blocks_left_out() -> None:
    off = judged(attacked(), *stalls_in(on=False, count=7), *burning(0.1))
    assert off.status is Status.HELD
    on = judged(attacked(), *stalls_in(on=True, count=7), *burning(0.1))
    assert on.status is Status.UNKNOWN
    assert "7 of 7 stalls while the aggressor was on" in on.reason


def test_one_stall_in_an_on_block_does_not_spoil_a_run() -> None:
    assert judged(attacked(), *stalls_in(on=True, count=1)).status is Status.HELD


def test_a_late_generator_turns_held_and_violated_into_unknown() -> None:
    for effect in (1.0, 3.0):
        verdict = judged(late(attacked(effect), 30.0))
        assert verdict.status is Status.UNKNOWN
        assert "generator late" in verdict.reason
    assert judged(late(attacked(3.0), 0.2)).status is Status.VIOLATED


def test_a_generator_that_is_late_while_the_flood_is_on_accuses_nobody() -> None:
    gate = DESIGN.gate(SEED)
    on = [any(a <= o.due_ns / 1e9 - START < b for a, b in gate) for o in attacked()]
    ops = [late([o], 25.0)[0] if hit else o for o, hit in zip(attacked(), on, strict=True)]
    assert judged(ops).status is Status.UNKNOWN


def test_the_stated_false_alarm_rate_is_in_the_report() -> None:
    verdict = judged(attacked())
    assert "false alarms at most 1%" in verdict.reason
    assert verdict.measured["alpha"] == DESIGN.alpha


def calm(name: str, start: float, *, lost: float = 0.0, factor: float = 1.0) -> list[Op]:
    rng = np.random.default_rng(int(start))
    ops: list[Op] = []
    for at in np.sort(rng.uniform(0, 10, 800)).tolist():
        ms = factor * float(rng.lognormal(1.5, 0.5))
        gone = rng.random() < lost
        made = (
            timed_out(due=start + at, phase=name) if gone else op(due=start + at, ms=ms, phase=name)
        )
        ops.append(made)
    return ops


def long_story(*, lost: float = 0.0, factor: float = 1.0) -> list[Op]:
    sustained = calm("sustained", 60, lost=lost, factor=factor)
    return [*calm("baseline", 0), *attacked(), *sustained, *calm("recovery", 70)]


def test_a_long_attack_on_a_crowded_host_is_unknown_unless_the_answers_are_gone() -> None:
    crowd = burning(1.2, since=58)
    assert judged(long_story(factor=4), *burning(0.1), judge=LONG).status is Status.VIOLATED
    slowed = judged(long_story(factor=4), *crowd, judge=LONG)
    assert slowed.status is Status.UNKNOWN
    assert "host too noisy: strangers took" in slowed.reason
    assert judged(long_story(lost=0.9), *crowd, judge=LONG).status is Status.VIOLATED


def test_a_long_attack_in_which_the_machine_stood_still_is_unknown() -> None:
    still = Sampled(probe="stall", at_ns=ns(63), values={"stall_ms": 1500.0})
    verdict = judged(long_story(lost=0.1), still, judge=LONG)
    assert verdict.status is Status.UNKNOWN
    assert "stood still for 1.5 s" in verdict.reason


def test_a_control_that_suffers_in_the_same_blocks_takes_the_blame_off_the_aggressor() -> None:
    """Something on the host follows the blocks; who cannot be reached by the flood tells it."""
    ops = attacked(1.5)
    reached = neighbours_keep_their_p95(DESIGN, control="control")
    same = [msgspec.structs.replace(o, tenant="control-0", cohort="control") for o in attacked(1.5)]
    calm = [msgspec.structs.replace(o, tenant="control-0", cohort="control") for o in attacked()]
    events = (opened(), *EVENTS)
    assert CALM(_history(ops, events)).status is Status.VIOLATED
    assert reached(_history([*ops, *calm], events)).status is Status.VIOLATED
    assert "p95_ratio" in reached(_history([*ops, *same], events)).measured
    assert reached(_history([*ops, *same], events)).measured["p95_ratio"] == pytest.approx(1.0)
