"""Krebs' index from a run's phases, and what it takes to say anything."""

from __future__ import annotations

import pytest

from lab.history import Op
from lab.journal import Event, Sampled
from lab.verdict import Status, Verdict
from lab.verifiers.proportion import loss_is_in_proportion
from tests.histories import ns, op, phase, timed_out, told

LOADS = {1.0: "load x1", 2.0: "load x2", 8.0: "load x8"}
EVENTS = tuple(e for n, name in enumerate(LOADS.values()) for e in phase(name, 10 * n, 10 * n + 10))
JUDGE = loss_is_in_proportion(LOADS)


def traffic(*ms: float, count: int = 300) -> list[Op]:
    return [
        op(due=10 * n + i / 40, ms=each, phase=name)
        for n, (name, each) in enumerate(zip(LOADS.values(), ms, strict=True))
        for i in range(count)
    ]


def judged(ops: list[Op], *events: Event) -> Verdict:
    return JUDGE(told(ops, *EVENTS, *events))


def test_neighbours_that_lose_nothing_have_an_index_of_zero() -> None:
    verdict = judged(traffic(10, 10, 10))
    assert verdict.status is Status.HELD
    assert verdict.measured["i_avg"] == pytest.approx(0, abs=1e-6)


def test_gross_harm_is_a_violation_and_the_index_is_worked_out_by_load() -> None:
    verdict = judged(traffic(10, 20, 80))
    assert verdict.status is Status.VIOLATED
    assert verdict.measured["i_qos_x2"] == pytest.approx(1)
    assert verdict.measured["i_qos_x8"] == pytest.approx(1)
    assert verdict.exposures["requests_x8"] == 300


def test_lost_answers_are_infinite_harm_and_none_before_are_unknown() -> None:
    lost = [timed_out(due=o.due_ns / 1e9, phase=o.phase) if o.phase == "load x8" else o
            for o in traffic(10, 10, 10)]  # fmt: skip
    assert judged(lost).status is Status.VIOLATED
    always = [timed_out(due=o.due_ns / 1e9, phase=o.phase) for o in traffic(10, 10, 10)]
    assert judged(always).status is Status.UNKNOWN


def test_too_few_requests_and_a_host_that_stood_still_are_unknown() -> None:
    assert judged(traffic(10, 20, 80, count=100)).status is Status.UNKNOWN
    still = Sampled(probe="stall", at_ns=ns(25), values={"stall_ms": 2000.0})
    assert judged(traffic(10, 20, 80), still).status is Status.UNKNOWN
