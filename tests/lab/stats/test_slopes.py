"""Growth is told from noise, from a warm-up, and from nothing at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from lab.stats.series import Floats
from lab.stats.slopes import POINTS_MAX, decelerating, theil_sen


def line(
    per_x: float, *, points: int = 60, noise: float = 1.0, seed: int = 0
) -> tuple[Floats, ...]:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 60, points))
    return x, 5.0 + per_x * x + rng.normal(0, noise, points)


@given(st.integers(3, 60), st.integers(0, 500), st.floats(-3, 3), st.booleans())
@settings(max_examples=60)
def test_slope_and_limits_are_those_of_the_usual_library(
    points: int, seed: int, per_x: float, tied: bool
) -> None:
    x, y = line(per_x, points=points, seed=seed)
    if tied:
        y = np.round(y)
    ours, theirs = theil_sen(x, y, alpha=0.01), theilslopes(y, x, 0.98)
    assert ours.slope == pytest.approx(float(theirs[0]))
    if np.isfinite(ours.lower) and np.isfinite(ours.upper):
        assert (ours.lower, ours.upper) == pytest.approx((float(theirs[2]), float(theirs[3])))


@pytest.mark.parametrize("per_x", [0.0, 0.2])
def test_the_limits_cover_the_true_slope(per_x: float) -> None:
    found = [theil_sen(*line(per_x, seed=seed), alpha=0.05) for seed in range(400)]
    assert 8 <= sum(s.lower > per_x for s in found) <= 34
    assert 8 <= sum(s.upper < per_x for s in found) <= 34


def test_a_few_wild_readings_do_not_move_it() -> None:
    x, y = line(1.0)
    spoiled = np.where(np.arange(len(x)) % 10 == 0, 1e6, y)
    assert theil_sen(x, spoiled).slope == pytest.approx(1.0, abs=0.1)


def test_a_long_series_is_thinned_and_says_the_same() -> None:
    x, y = line(0.5, points=5 * POINTS_MAX)
    found = theil_sen(x, y)
    assert found.points == POINTS_MAX
    assert found.lower < 0.5 < found.upper


def test_too_few_points_give_no_limits() -> None:
    one = theil_sen(np.array([1.0]), np.array([2.0]))
    assert np.isnan(one.slope)
    assert (one.lower, one.upper) == (-np.inf, np.inf)
    two = theil_sen(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    assert (two.slope, two.lower, two.upper) == (2.0, -np.inf, np.inf)
    same = theil_sen(np.array([1.0, 1.0]), np.array([2.0, 4.0]))
    assert np.isnan(same.slope)


@pytest.mark.parametrize(
    ("x", "y"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, np.nan]), ([1.0, np.inf], [1.0, 2.0])]
)
def test_what_has_no_slope_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match=r"one length|finite"):
        theil_sen(np.array(x), np.array(y))


def test_a_warm_up_slows_down_and_a_leak_does_not() -> None:
    x, noise = line(0.0, points=300, noise=0.5)
    assert decelerating(x, noise + 100 * (1 - np.exp(-x / 15)))
    assert not decelerating(x, noise + 3 * x)
    assert not decelerating(x, noise + 0.1 * x**2)
    assert decelerating(x, np.zeros(len(x)))
    assert decelerating(np.empty(0), np.empty(0))
