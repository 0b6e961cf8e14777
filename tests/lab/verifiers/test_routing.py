"""Silence in calm times is a violation; silence while something was broken is not counted."""

from __future__ import annotations

import pytest

from lab.history import Op, Outcome
from lab.journal import Event, Healed, Injecting
from lab.verdict import Status
from lab.verifiers import judge_all
from lab.verifiers.routing import every_message_is_answered
from tests.histories import ns, op, phase, timed_out, told

HELD, UNKNOWN, VIOLATED = Status.HELD, Status.UNKNOWN, Status.VIOLATED
JUDGE = every_message_is_answered()


def fine(count: int = 400, *, per_second: float = 10, tenant: str = "quiet-0") -> list[Op]:
    return [op(tenant, due=n / per_second) for n in range(count)]


def silent(start: float, count: int, tenant: str = "quiet-0") -> list[Op]:
    return [timed_out(tenant, due=start + n / 100) for n in range(count)]


def broken(start: float, end: float | None) -> tuple[Event, ...]:
    begun = Injecting(fault="cut", kind="cut", settings={}, at_ns=ns(start))
    if end is None:
        return (begun,)
    return (begun, Healed(fault="cut", asked_ns=ns(end), at_ns=ns(end)))


def test_answers_to_everything_are_held() -> None:
    verdict = JUDGE(told(fine()))
    assert (verdict.status, verdict.exposures["messages"]) == (HELD, 400)


@pytest.mark.parametrize(("lost", "status"), [(4, HELD), (5, VIOLATED), (100, VIOLATED)])
def test_more_than_one_in_a_hundred_unanswered_is_a_violation(lost: int, status: Status) -> None:
    verdict = JUDGE(told(fine(400 - 1) + silent(5, lost)))
    assert verdict.status is status
    assert verdict.measured["unanswered_share"] == pytest.approx(lost / (399 + lost))


def test_a_backend_that_accepts_and_never_answers_is_a_violation() -> None:
    verdict = JUDGE(told(silent(0, 200)))
    assert verdict.status is VIOLATED
    assert "none of 200" in verdict.reason


def test_a_cohort_without_one_success_is_a_violation_even_if_all_is_refused() -> None:
    refused = [op("vip-0", due=n, outcome=Outcome.FAIL, error="refused: no") for n in range(200)]
    verdict = JUDGE(told(fine() + refused))
    assert (verdict.status, "vip" in verdict.reason) == (VIOLATED, True)


def test_a_refusal_is_an_answer() -> None:
    refused = [op(due=n, outcome=Outcome.FAIL, error="refused: full") for n in range(100)]
    verdict = JUDGE(told(fine() + refused))
    assert (verdict.status, verdict.measured["refused_share"]) == (HELD, 0.2)


def test_what_a_fault_touched_is_not_counted_until_it_has_settled() -> None:
    ops = fine() + silent(10, 100) + silent(14, 20)
    assert JUDGE(told(ops, *broken(9, 12))).status is HELD
    assert every_message_is_answered(settle_seconds=1)(told(ops, *broken(9, 12))).status is VIOLATED
    assert JUDGE(told(fine() + silent(20, 50), *broken(9, 12))).status is VIOLATED


def test_a_fault_that_was_never_healed_leaves_no_calm_after_it() -> None:
    verdict = JUDGE(told(fine() + silent(30, 200), *broken(5, None)))
    assert (verdict.status, verdict.exposures["messages"]) == (UNKNOWN, 50)


def test_a_phase_can_be_left_out_and_a_cohort_picked() -> None:
    loud = [timed_out(due=50 + n / 100, phase="flood") for n in range(100)]
    events = phase("flood", 50, 60)
    assert (
        every_message_is_answered(excluding=("flood",))(told(fine() + loud, *events)).status is HELD
    )
    others = fine() + silent(0, 100, tenant="noisy-0")
    assert every_message_is_answered(of=("quiet",))(told(others)).status is HELD
    assert every_message_is_answered(of=("nobody",))(told(others)).status is UNKNOWN


def test_the_labs_own_doing_is_not_held_against_the_system() -> None:
    cut = [op(due=n, outcome=Outcome.INFO, error="abandoned") for n in range(100)]
    unsent = [op(due=n, outcome=Outcome.FAIL, error="dropped") for n in range(100)]
    assert JUDGE(told(fine() + cut)).status is HELD
    assert JUDGE(told(fine() + unsent)).status is UNKNOWN


def test_too_few_messages_are_unknown() -> None:
    assert JUDGE(told(fine(99))).status is UNKNOWN
    assert JUDGE(told([])).status is UNKNOWN


def test_an_operation_told_twice_breaks_the_account() -> None:
    once = fine()
    (verdict,) = judge_all((JUDGE,), told([*once, once[0]]))
    assert (verdict.status, "more than once" in verdict.reason) == (UNKNOWN, True)
