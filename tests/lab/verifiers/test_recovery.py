"""Recovered is five good windows in a row, in time; never recovered is no number."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.history import History, Op, Outcome
from lab.journal import Event, Healed
from lab.stats.series import Floats
from lab.verdict import Status, Verdict
from lab.verifiers.recovery import settles_within
from tests.histories import arrivals, ns, op, phase, quiet_noise, stream_of, timed_out, told

HELD, UNKNOWN, VIOLATED = Status.HELD, Status.UNKNOWN, Status.VIOLATED
BOUND = 4.0
JUDGE = settles_within(BOUND, before="before", fault="cut", after="after", of="quiet")
EVENTS = (*phase("before", 0, 10), *phase("cut", 10, 15), *phase("after", 15, 25))
HEALED = Healed(fault="cut", asked_ns=ns(14.5), at_ns=ns(14.5))


def load(
    name: str,
    start: float,
    end: float,
    *,
    bad_until: float = 0.0,
    lost: bool = True,
    per_second: float = 80,
) -> list[Op]:
    """Steady load; what is due before `bad_until` times out, or takes a second."""
    rng = np.random.default_rng(int(start) + 1)
    due = arrivals(rng, end - start, per_second)
    latency: Floats = np.where(
        due + start < bad_until, np.inf if lost else 1000.0, quiet_noise(rng, due)
    )
    return stream_of(due, latency, start=start, name=name)


def story(
    bad_until: float,
    *,
    lost: bool = True,
    healed: tuple[Event, ...] = (HEALED,),
    end: float = 25,
    before: float = 10,
    per_second: float = 80,
) -> History:
    events = (
        *phase("before", 0, before),
        *phase("cut", 10, 15),
        *phase("after", 15, end),
        *healed,
    )
    ops = load("before", 0, before, per_second=per_second)
    ops += load("cut", 10, 15, bad_until=bad_until, lost=lost, per_second=per_second)
    ops += load("after", 15, end, bad_until=bad_until, lost=lost, per_second=per_second)
    return told(ops, *events)


def judged(history: History) -> tuple[Status, float]:
    verdict = JUDGE(history)
    return verdict.status, verdict.measured.get("recovery_seconds", float("nan"))


@pytest.mark.parametrize("lost", [True, False])
def test_back_in_the_band_in_time_is_held_with_the_time_since_the_heal(lost: bool) -> None:
    status, seconds = judged(story(16.5, lost=lost))
    assert status is HELD
    assert seconds == pytest.approx(2.0, abs=0.5)


def test_back_at_once_is_held_at_zero() -> None:
    assert judged(story(14.5)) == (HELD, 0.0)


@pytest.mark.parametrize("lost", [True, False])
def test_back_too_late_is_a_violation(lost: bool) -> None:
    status, seconds = judged(story(20.0, lost=lost))
    assert status is VIOLATED
    assert seconds == pytest.approx(5.5, abs=0.5)


def test_never_back_is_a_violation_without_a_number() -> None:
    verdict = JUDGE(story(99.0))
    assert verdict.status is VIOLATED
    assert "recovery_seconds" not in verdict.measured
    assert verdict.measured["watched_seconds"] == pytest.approx(10.5)


def test_watched_for_too_short_a_time_is_unknown() -> None:
    assert judged(story(99.0, end=18))[0] is UNKNOWN


def test_one_good_second_between_bad_ones_is_no_recovery() -> None:
    history = story(20.0)
    ops = [
        op_
        if not 16 * 10**9 <= op_.due_ns < 17 * 10**9
        else op(op_.tenant, due=op_.due_ns / 1e9, phase=op_.phase)
        for op_ in history.ops
    ]
    assert judged(told(ops, *history.events[1:]))[0] is VIOLATED


def test_a_service_that_answers_quickly_but_loses_a_tenth_is_not_back() -> None:
    history = story(14.5)
    ops = [
        timed_out(o.tenant, due=o.due_ns / 1e9, phase=o.phase)
        if o.phase == "after" and n % 10 == 0
        else o
        for n, o in enumerate(history.ops)
    ]
    assert judged(told(ops, *history.events[1:]))[0] is VIOLATED


def test_too_short_a_time_before_gives_no_band() -> None:
    verdict = JUDGE(story(14.5, before=2))
    assert (verdict.status, "no band" in verdict.reason) == (UNKNOWN, True)


def test_a_short_time_before_gets_shorter_windows() -> None:
    verdict = JUDGE(story(14.5, before=5))
    assert verdict.status is HELD
    assert verdict.measured["window_seconds"] == pytest.approx(5 / 31)


def test_too_little_load_gives_no_band() -> None:
    assert judged(story(14.5, per_second=4))[0] is UNKNOWN


def test_an_unsteady_time_before_gives_no_band() -> None:
    ops = load("before", 0, 10, bad_until=5) + load("after", 15, 25)
    verdict = JUDGE(told(ops, *EVENTS, HEALED))
    assert (verdict.status, "not steady" in verdict.reason) == (UNKNOWN, True)


def test_load_that_stops_after_the_heal_is_unknown_and_not_an_outage() -> None:
    ops = load("before", 0, 10) + load("after", 15, 15.5)
    assert judged(told(ops, *EVENTS, HEALED))[0] is UNKNOWN


@pytest.mark.parametrize(
    "healed",
    [
        (),
        (Healed(fault="cut", asked_ns=ns(14), at_ns=ns(14.5), error="no answer"),),
        (Healed(fault="other", asked_ns=ns(3), at_ns=ns(3)),),
    ],
)
def test_a_fault_that_was_not_healed_starts_no_clock(healed: tuple[Event, ...]) -> None:
    assert judged(story(14.5, healed=healed))[0] is UNKNOWN


def test_a_run_that_ended_early_is_unknown() -> None:
    assert JUDGE(told(load("before", 0, 10), *phase("before", 0, 10))).status is UNKNOWN
    assert JUDGE(told([])).status is UNKNOWN


def test_without_a_fault_the_clock_starts_with_the_phase() -> None:
    judge = settles_within(BOUND, before="before", after="after", of="quiet")
    verdict: Verdict = judge(story(17.0, healed=()))
    assert verdict.status is HELD
    assert verdict.measured["recovery_seconds"] == pytest.approx(2.0, abs=0.5)


def test_the_last_heal_of_several_starts_the_clock() -> None:
    earlier = Healed(fault="first", asked_ns=ns(11), at_ns=ns(11))
    verdict = JUDGE(story(14.5, healed=(earlier, HEALED)))
    assert verdict.measured["recovery_seconds"] == 0.0


def test_what_the_lab_cut_off_does_not_delay_recovery() -> None:
    cut = [
        op(due=15 + n / 20, phase="after", outcome=Outcome.INFO, error="abandoned")
        for n in range(200)
    ]
    history = story(14.5)
    assert judged(told([*history.ops, *cut], *history.events[1:])) == (HELD, 0.0)


@settings(max_examples=20, deadline=None)
@given(st.floats(14.5, 24.0))
def test_a_longer_outage_never_recovers_sooner(bad_until: float) -> None:
    status, seconds = judged(story(bad_until))
    took = bad_until - 14.5
    if took + 0.75 < BOUND:
        assert status is HELD
    if took - 0.75 > BOUND:
        assert status is VIOLATED
    assert not seconds < took - 0.3


def test_a_generator_that_was_late_itself_accuses_nobody() -> None:
    slow = story(24.0, lost=False)
    late = tuple(
        msgspec.structs.replace(o, sent_ns=o.done_ns - ns(0.005)) if o.due_ns > ns(15) else o
        for o in slow.ops
    )
    assert judged(slow)[0] is VIOLATED
    verdict = JUDGE(History(late, slow.events))
    assert verdict.status is UNKNOWN
    assert "generator late" in verdict.reason
