"""The signed-rank limits against brute force: every sign pattern, written down."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.stats.ranks import Floats, limits, null_distribution, p_value, walsh_averages

DIFFERENCES = st.lists(
    st.floats(-5, 5).filter(lambda x: abs(x) > 1e-6), min_size=1, max_size=9, unique_by=abs
)


@pytest.mark.parametrize("pairs", range(1, 13))
def test_the_null_distribution_is_that_of_every_sign_pattern(pairs: int) -> None:
    signs = np.array(list(product((0, 1), repeat=pairs)))
    statistics = signs @ np.arange(1, pairs + 1)
    counts = np.bincount(statistics, minlength=pairs * (pairs + 1) // 2 + 1)
    assert np.allclose(null_distribution(pairs), np.cumsum(counts) / 2**pairs, atol=1e-12)


@given(DIFFERENCES, st.sampled_from([0.3, 0.1, 0.05, 0.01]))
@settings(max_examples=200)
def test_the_lower_limit_is_where_the_sign_flip_test_stops_rejecting(
    values: list[float], alpha: float
) -> None:
    differences = np.array(values)
    lower = limits(differences, alpha)[1]
    for threshold in np.sort(walsh_averages(differences)):
        for shift in (threshold - 1e-9, threshold + 1e-9):
            assert (_brute_p(differences - shift) <= alpha) == (lower > shift)


def _brute_p(shifted: Floats) -> float:
    """P(sum of positive ranks >= the one seen) over all sign flips."""
    ranks = np.argsort(np.argsort(np.abs(shifted))) + 1
    seen = ranks[shifted > 0].sum()
    signs = np.array(list(product((0, 1), repeat=len(shifted))))
    return np.count_nonzero(signs @ ranks >= seen) / len(signs)


@given(DIFFERENCES, st.sampled_from([0.3, 0.1, 0.01]))
def test_limits_of_the_mirror_image_are_the_mirror_image(values: list[float], alpha: float) -> None:
    estimate, lower, upper = limits(np.array(values), alpha)
    mirrored = limits(-np.array(values), alpha)
    assert np.allclose(mirrored, (-estimate, -upper, -lower))
    assert lower <= estimate <= upper


@given(DIFFERENCES, st.floats(-4, 4), st.sampled_from([0.3, 0.1, 0.01]))
def test_the_p_value_and_the_limit_say_the_same(
    values: list[float], at: float, alpha: float
) -> None:
    differences = np.array(values)
    assert (p_value(differences, at) <= alpha) == (limits(differences, alpha)[1] > at)


def test_an_alpha_that_is_just_reached_suffices() -> None:
    assert limits(np.array([1.0, 2.0]), 0.25)[1] == 1.0
    assert limits(np.array([1.0, 2.0]), 0.2499)[1] == -np.inf


def test_too_few_differences_give_no_limits() -> None:
    assert limits(np.ones(8), 0.001)[1:] == (-np.inf, np.inf)
    assert np.isnan(limits(np.empty(0), 0.1)[0])
    assert p_value(np.empty(0), 0.0) == 1.0


def test_infinite_differences_are_the_largest_and_stay_on_the_safe_side() -> None:
    mixed = np.array([np.inf] * 3 + [-np.inf] * 3 + [0.1] * 14)
    estimate, lower, upper = limits(mixed, 0.0033)
    large = limits(np.where(np.isinf(mixed), np.sign(mixed) * 1e6, mixed), 0.0033)
    assert estimate == pytest.approx(0.1)
    assert lower <= large[1] <= large[2] <= upper
    halves = limits(np.array([np.inf] * 10 + [-np.inf] * 10), 0.0033)
    assert halves == (0.0, -np.inf, np.inf)
    settled = limits(np.array([np.inf] * 17 + [-np.inf] * 3), 0.0033)
    assert settled == (np.inf, -np.inf, np.inf)
    assert limits(np.full(20, np.inf), 0.0033)[0:2] == (np.inf, np.inf)
    assert limits(np.full(20, -np.inf), 0.0033)[2] == -np.inf
