"""A generator that was late makes the run UNKNOWN; the system is never to blame for it."""

from __future__ import annotations

import pytest

from lab.history import Outcome
from lab.journal import Sampled
from lab.verdict import Status
from lab.verifiers.measurement import generator_was_on_time
from tests.histories import op, told


def health(**values: float) -> Sampled:
    fine = {"lateness_p99_ms": 3.0, "stall_max_ms": 40.0}
    return Sampled(probe="generator", at_ns=0, values=fine | values)


def test_a_generator_on_time_is_held() -> None:
    assert generator_was_on_time()(told([op()], health())).status is Status.HELD


@pytest.mark.parametrize(
    "values",
    [{"lateness_p99_ms": 51.0}, {"stall_max_ms": 1001.0}, {"lateness_p99_ms": float("nan")}],
)
def test_a_late_generator_is_unknown(values: dict[str, float]) -> None:
    verdict = generator_was_on_time()(told([op()], health(**values)))
    assert verdict.status is Status.UNKNOWN
    assert next(iter(values)) in verdict.reason


def test_a_cohort_that_was_hardly_sent_is_unknown() -> None:
    ops = [op(), op(due=1, outcome=Outcome.FAIL, error="dropped")]
    assert generator_was_on_time()(told(ops, health())).status is Status.HELD
    assert generator_was_on_time(cohorts=("quiet",))(told(ops, health())).status is Status.UNKNOWN


def test_a_generator_that_told_nothing_or_sent_nothing_is_unknown() -> None:
    silent = Sampled(probe="generator", at_ns=0, values={"lateness_p99_ms": 1.0})
    for history in (told([op()]), told([], health()), told([op()], silent)):
        assert generator_was_on_time()(history).status is Status.UNKNOWN
