"""Laid over each other, disturbances tell when they are over, and noise is not taken for them."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.stats.overlay import Stretch, back


def disturbed(
    rng: np.random.Generator, until: float, *, hiccup_share: float = 0.0, factor: float = 3.0
) -> Stretch:
    """200 operations a second for 5 s, slow until then; some have a hiccup of 50 ms later on."""
    seconds = np.sort(rng.uniform(-0.5, 5.0, 1100))
    ratios = rng.lognormal(-0.35, 0.2, 1100)  # its p95 is 0.98
    ratios = np.where((seconds >= 0) & (seconds < until), ratios * factor, ratios)
    if rng.random() < hiccup_share:
        at = rng.uniform(until, 4.5)
        ratios = np.where((seconds >= at) & (seconds < at + 0.05), 4.0, ratios)
    return Stretch(seconds, ratios)


@given(st.floats(0.0, 3.5), st.integers(0, 1000))
def test_the_moment_is_told_to_within_a_quarter_of_a_second(until: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = back([disturbed(rng, until) for _ in range(20)], 1.10, seed=seed)
    assert found.seconds == pytest.approx(until, abs=0.25)
    assert found.seconds <= found.limit <= until + 0.3


def test_hiccups_in_a_third_of_them_do_not_put_it_off_for_ever() -> None:
    rng = np.random.default_rng(3)
    stretches = [disturbed(rng, 1.0, hiccup_share=0.35) for _ in range(20)]
    found = back(stretches, 1.10, seed=1)
    assert 0.8 <= found.seconds <= found.limit <= 1.5


def test_one_in_five_that_never_ends_is_never_back() -> None:
    rng = np.random.default_rng(4)
    stretches = [disturbed(rng, 6.0 if n % 5 == 0 else 0.5) for n in range(20)]
    assert back(stretches, 1.10, seed=1).seconds == inf


def test_what_one_disturbance_alone_decides_has_a_wide_limit() -> None:
    rng = np.random.default_rng(5)
    stretches = [disturbed(rng, 3.0 if n == 0 else 0.5, factor=9.0) for n in range(8)]
    found = back(stretches, 1.10, seed=1)
    assert found.limit > found.seconds + 0.1


def test_what_did_not_end_well_is_slow() -> None:
    seconds = np.linspace(0.0, 5.0, 1000)
    lost = Stretch(seconds, np.where(seconds < 2.0, inf, 0.9))
    assert back([lost], 1.10, seed=1).seconds == pytest.approx(1.85, abs=0.1)
    assert lost.over(1.10, since=0.0, until=2.0)
    assert not lost.over(1.10, since=2.1, until=5.0)


def test_the_same_seed_draws_the_same_limit() -> None:
    rng = np.random.default_rng(6)
    stretches = [disturbed(rng, 1.0) for _ in range(5)]
    assert back(stretches, 1.10, seed=9) == back(stretches, 1.10, seed=9)


def test_without_any_there_is_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="no disturbance"):
        back([], 1.10, seed=1)
