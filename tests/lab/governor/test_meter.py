"""Who uses what: averages over a window, from counters that grow and levels that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.governor.blame import Resource
from lab.governor.meter import FADES_SECONDS, WINDOW_SECONDS, Meter, Track
from tests.histories import op


def test_a_counter_is_read_as_its_growth_a_second() -> None:
    meter = Meter()
    for n in range(21):
        meter.read(n / 10, "noisy", {"agent_cpu_ms": 80.0 * n})
    assert meter.use(2.0)["noisy"][Resource.CPU] == pytest.approx(0.8)


def test_one_heavy_request_is_spread_over_the_window() -> None:
    meter = Meter()
    meter.read(0.0, "noisy", {"cpu_ms": 0.0})
    meter.read(0.05, "noisy", {"cpu_ms": 50.0})
    assert meter.use(0.05)["noisy"][Resource.CPU] == pytest.approx(0.05 / WINDOW_SECONDS)


def test_a_counter_that_begins_anew_is_no_growth_below_nothing() -> None:
    track = Track()
    for at, value in ((0.0, 5000.0), (1.0, 5100.0), (2.0, 30.0)):
        track.see(at, value)
    assert track.growth == pytest.approx(65.0)


def test_what_is_held_is_read_as_it_is_now() -> None:
    meter = Meter()
    for n in range(21):
        meter.read(n / 10, "noisy", {"held": 0.0 if n < 10 else 8.0})
    assert meter.use(2.0)["noisy"][Resource.DATABASE] == 8.0


def test_what_nobody_has_counted_lately_is_not_used() -> None:
    meter = Meter()
    meter.read(0.0, "noisy", {"sockets": 200.0})
    assert meter.use(1.0)["noisy"] == {Resource.SOCKETS: 200.0}
    assert meter.use(FADES_SECONDS + 0.1)["noisy"] == {}


def test_refused_requests_are_requests_too() -> None:
    meter = Meter()
    for n in range(21):
        meter.read(n / 10, "noisy", {"accepted": 1.0 * n, "refused": 50.0 * n})
    assert meter.use(2.0)["noisy"][Resource.REQUESTS] == pytest.approx(510.0)
    assert meter.refusals(2.0, "noisy") == pytest.approx(500.0)


def test_operations_count_where_the_system_counts_nothing() -> None:
    meter = Meter()
    for n in range(21):
        meter.see(n / 10, [op("noisy-0", due=1 + n / 10) for _ in range(30)])
    assert meter.use(2.0)["noisy-0"][Resource.REQUESTS] == pytest.approx(300.0)


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=30))
def test_growth_is_never_negative_whatever_a_counter_says(values: list[float]) -> None:
    track = Track()
    for n, value in enumerate(values):
        track.see(n / 10, value)
    assert track.growth >= 0
