"""Shares are of what a tenant may ask for; every second counts by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.stats.fairness import by_second, fairness, service, shares
from tests.histories import ns, op, timed_out


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=50))
def test_jain_is_what_the_variation_makes_it(values: list[float]) -> None:
    x = np.array(values)
    found = fairness(x)
    assert found.jain == pytest.approx(x.sum() ** 2 / (len(x) * (x**2).sum()))
    assert 1 / len(x) - 1e-9 <= found.jain <= 1 + 1e-9
    assert found.min_over_max <= 1 <= found.max_over_mean + 1e-9


def test_a_monopoly_is_one_over_n_and_equals_are_one() -> None:
    assert fairness(np.array([1.0, 0, 0, 0])).jain == pytest.approx(0.25)
    assert fairness(np.array([0.3, 0.3])).jain == pytest.approx(1)
    assert fairness(np.zeros(3)).jain == 1
    assert fairness(np.empty(0)).jain == 1


def test_who_asks_for_little_is_not_badly_served_and_who_takes_what_is_left_is_not_to_blame() -> (
    None
):
    demand, served = np.array([2.0, 10.0, 50.0]), np.array([2.0, 10.0, 30.0])
    assert shares(demand, served, 10.0).tolist() == [1, 1, 1]
    assert shares(demand, np.array([2.0, 5.0, 50.0]), 10.0).tolist() == [1, 0.5, 1]
    assert np.isnan(shares(np.zeros(1), np.zeros(1), 10.0)[0])


def test_service_is_what_was_due_in_the_second_and_answered_in_time() -> None:
    ops = [
        op("a-0", due=10.2, ms=5),
        op("a-0", due=10.9, ms=500),
        op("a-0", due=11.5, ms=1500),
        timed_out("b-0", due=10.1),
        op("b-0", due=9.0),
        op("b-0", due=12.5),
    ]
    seen = service(ops, since_ns=ns(10), seconds=2, within_ms=1000)
    assert seen.tenants == ("a-0", "b-0")
    assert seen.demand.tolist() == [[2, 1], [1, 0]]
    assert seen.served.tolist() == [[2, 0], [0, 0]]


def test_unfairness_that_takes_turns_is_seen_by_the_second() -> None:
    ops = [
        op(f"t-{n}", due=k + i / 5, ms=5 if (k + n) % 2 else 2000)
        for n in range(2)
        for k in range(6)
        for i in range(4)
    ]
    seen = service(ops, since_ns=0, seconds=6, within_ms=1000)
    each = by_second(seen, entitled_per_second=4, demand_min=3)
    assert {f.jain for f in each.values()} == {0.5}
    whole = shares(seen.demand.sum(axis=1), seen.served.sum(axis=1), 24)
    assert fairness(whole).jain == 1


def test_a_second_with_one_tenant_is_no_comparison() -> None:
    ops = [op("t-0", due=0.1 * n) for n in range(9)]
    seen = service(ops, since_ns=0, seconds=1, within_ms=1000)
    assert by_second(seen, entitled_per_second=5, demand_min=3) == {}
