# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Admission decides by counters and a clock that is passed in."""

from __future__ import annotations

import pytest
from reference_platform import defects
from reference_platform.admission import Admission, Limits
from reference_platform.problems import Problem

LIMITS = Limits(
    per_second=10.0,
    burst=5.0,
    in_flight=3,
    budgets={"database": (30.0, 60.0), "cpu": (50.0, 100.0)},
)


def arrivals(admission: Admission, tenant: str, count: int, now: float) -> list[str]:
    tally = admission.tally(tenant, now)
    found = [admission.arrive(tally, now) for _ in range(count)]
    return [problem.code if problem else "in" for problem in found]


def test_a_burst_beyond_the_in_flight_cap_is_refused() -> None:
    assert arrivals(Admission(LIMITS), "a", 4, 0.0) == ["in"] * 3 + ["too_many_in_flight"]


def test_a_sustained_rate_beyond_the_bucket_is_refused_with_the_time_to_wait() -> None:
    admission = Admission(LIMITS)
    tally = admission.tally("a", 0.0)
    for _ in range(5):
        assert admission.arrive(tally, 0.0) is None
        admission.leave(tally)
    problem = admission.arrive(tally, 0.0)
    assert problem is not None
    assert (problem.code, problem.definite) == ("rate_limited", True)
    assert admission.arrive(tally, problem.retry_after_ms / 1000) is None


def test_one_tenants_flood_takes_nothing_from_another() -> None:
    admission = Admission(LIMITS)
    arrivals(admission, "noisy", 1000, 0.0)
    assert arrivals(admission, "quiet", 3, 0.0) == ["in"] * 3


def test_work_is_one_at_a_time_and_charged_with_what_it_cost() -> None:
    admission = Admission(LIMITS)
    tally = admission.tally("a", 0.0)
    admission.begin(tally, "database", 40, 0.0)
    with pytest.raises(Problem, match="over_budget"):
        admission.begin(tally, "database", 40, 0.0)
    admission.settle(tally, "database", 40, 90.0)  # it took longer than it said
    refusal = admission.afford(tally, "database", 40, 0.0)
    assert refusal is not None
    assert refusal.retry_after_ms >= 1000  # 30 ms too much, paid back at 30 ms a second
    assert admission.afford(tally, "database", 40, refusal.retry_after_ms / 1000) is None


def test_sustained_work_stays_within_the_tenants_share() -> None:
    admission = Admission(LIMITS)
    tally = admission.tally("a", 0.0)
    done_ms = 0.0
    for tick in range(100_000):  # 100 seconds, a try every millisecond
        now = tick / 1000
        if admission.afford(tally, "database", 40, now) is None:
            admission.begin(tally, "database", 40, now)
            admission.settle(tally, "database", 40, 40.0)
            done_ms += 40
    assert done_ms <= 60 + 30 * 100 + 40


def test_the_planted_defect_lets_everything_in() -> None:
    defects.plant("shared_pool", "token")
    try:
        assert arrivals(Admission(LIMITS), "a", 100, 0.0) == ["in"] * 100
    finally:
        defects.plant("", "")
