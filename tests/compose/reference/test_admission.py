# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Admission decides by counters and a clock that is passed in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform import defects
from reference_platform.admission import Admission, Bucket
from reference_platform.problems import Problem
from reference_platform.quotas import Quotas, changed, parsed

QUOTAS = Quotas(
    requests_per_second=10.0, burst=5.0, in_flight=3,
    database_ms_per_second=30.0, cpu_ms_per_second=50.0,
)  # fmt: skip
SMALL = {"allow_nan": False, "allow_infinity": False, "min_value": 0.0, "max_value": 5.0}


def arrivals(admission: Admission, tenant: str, count: int, now: float) -> list[str]:
    tally = admission.tally(tenant, now)
    found = [admission.arrive(tally, now) for _ in range(count)]
    return [problem.code if problem else "in" for problem in found]


def test_a_burst_beyond_the_in_flight_cap_is_refused() -> None:
    assert arrivals(Admission(QUOTAS), "a", 4, 0.0) == ["in"] * 3 + ["too_many_in_flight"]


def test_a_sustained_rate_beyond_the_bucket_is_refused_with_the_time_to_wait() -> None:
    admission = Admission(QUOTAS)
    tally = admission.tally("a", 0.0)
    for _ in range(5):
        assert admission.arrive(tally, 0.0) is None
        admission.leave(tally)
    problem = admission.arrive(tally, 0.0)
    assert problem is not None
    assert (problem.code, problem.definite) == ("rate_limited", True)
    assert admission.arrive(tally, problem.retry_after_ms / 1000) is None


def test_one_tenants_flood_takes_nothing_from_another() -> None:
    admission = Admission(QUOTAS)
    arrivals(admission, "noisy", 1000, 0.0)
    assert arrivals(admission, "quiet", 3, 0.0) == ["in"] * 3


def test_who_is_refused_too_often_is_left_unread_and_nobody_else() -> None:
    admission = Admission(QUOTAS)
    noisy, quiet = admission.tally("noisy", 0.0), admission.tally("quiet", 0.0)
    assert [admission.unread_seconds(noisy, 0.0) for _ in range(100)] == [0.0] * 100
    assert admission.unread_seconds(noisy, 0.0) == pytest.approx(0.01)
    assert admission.unread_seconds(quiet, 0.0) == 0.0
    assert admission.unread_seconds(noisy, 1.02) == 0.0, "a second has paid for the next hundred"


def test_a_flood_on_many_sockets_is_forgotten_a_second_or_two_after_its_end() -> None:
    admission = Admission(QUOTAS)
    tally = admission.tally("noisy", 0.0)
    assert max(admission.unread_seconds(tally, 0.0) for _ in range(10_000)) == pytest.approx(1.0)
    assert admission.unread_seconds(tally, 1.02) == 0.0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=100))
def test_a_flood_is_refused_no_oftener_than_the_meter_allows(bursts: list[int]) -> None:
    admission, now, refused = Admission(QUOTAS), 0.0, 0
    tally = admission.tally("noisy", now)
    for burst in bursts:  # read so many at once, then none for as long as it says
        unread = [admission.unread_seconds(tally, now) for _ in range(burst)][-1]
        assert unread <= 1.0
        now, refused = now + unread, refused + burst
    assert refused <= 100 * now + 100 + 40


def test_work_is_one_at_a_time_and_charged_with_what_it_cost() -> None:
    admission = Admission(QUOTAS)
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
    admission = Admission(QUOTAS)
    tally = admission.tally("a", 0.0)
    done_ms = 0.0
    for tick in range(100_000):  # 100 seconds, a try every millisecond
        now = tick / 1000
        if admission.afford(tally, "database", 40, now) is None:
            admission.begin(tally, "database", 40, now)
            admission.settle(tally, "database", 40, 40.0)
            done_ms += 40
    assert done_ms <= 60 + 30 * 100 + 40


@given(st.lists(st.floats(**SMALL), max_size=200), st.floats(0.5, 50.0), st.floats(1.0, 50.0))
def test_no_stretch_of_time_lets_more_in_than_its_rate_and_one_burst(
    pauses: list[float], per_second: float, burst: float
) -> None:
    bucket, now, taken = Bucket(per_second, burst, burst, 0.0), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if bucket.refill(now) >= 1.0:
            bucket.level -= 1.0
            taken.append(now)
    for first, begin in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= (end - begin) * per_second + burst + 1e-6


@given(st.floats(-100.0, 0.9), st.floats(0.1, 100.0))
def test_after_the_time_that_a_refusal_names_there_is_enough(level: float, rate: float) -> None:
    bucket = Bucket(rate, 10.0, level, 0.0)
    wait_seconds = bucket.wait_ms(1.0) / 1000
    assert bucket.refill(wait_seconds) >= 1.0


def test_a_debt_of_tokens_or_bytes_is_paid_back_before_the_next_message() -> None:
    for kind, amount in (("tokens", 2_000_000.0), ("network", 5_000.0)):
        admission = Admission(QUOTAS)
        tally = admission.tally("a", 0.0)
        assert admission.arrive(tally, 0.0) is None
        admission.charge(tally, kind, amount)
        problem = admission.arrive(tally, 0.0)
        assert problem is not None
        assert problem.code == "over_budget"
        assert admission.arrive(tally, problem.retry_after_ms / 1000) is None
        assert tally.counters()["refused"] == {kind: 1}


def test_new_quotas_hold_at_once_and_a_debt_stays() -> None:
    admission = Admission(QUOTAS)
    tally = admission.tally("a", 0.0)
    admission.charge(tally, "tokens", 1_500_000.0)
    admission.set_quotas("a", changed(QUOTAS, b'{"burst": 1, "in_flight": 9}'), 0.0)
    assert tally.buckets["tokens"].level == pytest.approx(-500_000)
    tally.buckets["tokens"].level = 1.0
    assert arrivals(admission, "a", 3, 0.0) == ["in", "rate_limited", "rate_limited"]
    assert arrivals(admission, "b", 3, 0.0) == ["in"] * 3
    admission.forget("a")
    assert admission.quotas("a") == QUOTAS


@pytest.mark.parametrize("text", [b'{"burst": 0}', b'{"brust": 1}', b'{"pids": -1}', b"[]", b"{"])
def test_quotas_that_make_no_sense_are_not_taken(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        changed(QUOTAS, text)


def test_a_change_replaces_what_it_names_only() -> None:
    assert changed(QUOTAS, b'{"pids": 4}') == parsed(
        b'{"requests_per_second": 10, "burst": 5, "in_flight": 3, "pids": 4,'
        b'"database_ms_per_second": 30, "cpu_ms_per_second": 50}'
    )


def test_the_planted_defect_lets_everything_in() -> None:
    defects.plant("shared_pool", "token")
    try:
        assert arrivals(Admission(QUOTAS), "a", 100, 0.0) == ["in"] * 100
    finally:
        defects.plant("", "")
