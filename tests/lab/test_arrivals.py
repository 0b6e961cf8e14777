"""Schedules: the same for the same seed, at the rate that was asked, in order, inside the gate."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.arrivals import POISSON, Constant, Draw, Gate, Ramp, Recorded, Schedule, Spikes
from lab.errors import UsageError
from lab.seeds import stream

SECONDS = 10.0
rates = st.floats(0, 400)
some_seconds = st.floats(0.1, 5.0)
ramps = st.builds(Ramp, rates, some_seconds, st.floats(0, 5))
spikes = st.tuples(rates, some_seconds, some_seconds, st.floats(0, 5)).map(
    lambda of: Spikes(of[0], min(of[1:3]), max(of[1:3]), of[3])
)
shapes = ramps | spikes
recordings = st.lists(st.lists(st.integers(0, 12 * 10**9)).map(sorted).map(tuple)).map(
    lambda due: Recorded(tuple(due))
)
schedules = st.just(POISSON) | st.just(Constant()) | shapes | recordings


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    edges = sorted(draw(st.lists(st.floats(0, SECONDS), min_size=2, max_size=8, unique=True)))
    return tuple(zip(edges[::2], edges[1::2], strict=False))


def due(
    schedule: Schedule, per_second: float, gate: Gate = ((0.0, SECONDS),), seed: int = 1
) -> list[int]:
    return list(schedule.due_ns(Draw(stream(seed, "arrivals"), per_second, gate)))


@settings(deadline=None)
@given(schedules, rates, gates(), st.integers(0, 2**32))
def test_due_times_rise_lie_inside_the_gate_and_come_again_with_the_seed(
    schedule: Schedule, per_second: float, gate: Gate, seed: int
) -> None:
    dues = due(schedule, per_second, gate, seed)
    windows = [(round(start * 1e9), round(end * 1e9)) for start, end in gate]
    assert dues == sorted(dues)
    assert all(any(start <= at < end for start, end in windows) for at in dues)
    assert dues == due(schedule, per_second, gate, seed)


@settings(deadline=None)
@given(shapes, rates, st.integers(0, 2**32))
def test_a_shaped_rate_integrates_to_the_number_of_arrivals_in_every_part(
    shape: Ramp | Spikes, per_second: float, seed: int
) -> None:
    """In each fifth of the phase: within 6 standard deviations (Poisson) of the rate's integral."""
    dues = due(shape, per_second, seed=seed)
    steps, parts = 500, 5
    for part in range(parts):
        begin, end = (SECONDS / parts * k for k in (part, part + 1))
        width = (end - begin) / steps
        moments = (begin + (k + 0.5) * width for k in range(steps))
        expected = sum(shape.rate(per_second, at) for at in moments) * width
        seen = sum(begin <= at / 1e9 < end for at in dues)
        assert abs(seen - expected) <= 6 * (expected + 1) ** 0.5 + 1


@settings(deadline=None)
@given(st.floats(0, 400), st.integers(0, 2**32))
def test_a_shape_that_keeps_the_rate_is_thinned_of_nothing(per_second: float, seed: int) -> None:
    """Six standard deviations of its count, and the gaps of a Poisson process."""
    dues = due(Ramp(per_second, 1.0), per_second, seed=seed)
    expected = per_second * SECONDS
    assert abs(len(dues) - expected) <= 6 * expected**0.5 + 1


@settings(deadline=None)
@given(st.floats(0.2, 400), st.integers(0, 2**32))
def test_constant_arrivals_are_evenly_spaced_from_a_drawn_moment_on(
    per_second: float, seed: int
) -> None:
    dues = due(Constant(), per_second, seed=seed)
    assert abs(len(dues) - per_second * SECONDS) <= 1
    gap_ns = 1e9 / per_second
    assert dues[0] <= gap_ns
    assert all(abs(after - before - gap_ns) <= 2 for before, after in pairwise(dues))


def test_tenants_with_the_same_constant_rate_do_not_march_in_step() -> None:
    assert len({due(Constant(), 1.0, seed=seed)[0] for seed in range(20)}) == 20


def test_a_spike_is_where_and_as_high_as_it_was_asked() -> None:
    shape = Spikes(to_per_second=2_000, for_seconds=0.5, every_seconds=4, first_seconds=1)
    dues = [at / 1e9 for at in due(shape, 10.0)]
    inside = [at for at in dues if any(s <= at < s + 0.5 for s in (1, 5, 9))]
    assert abs(len(inside) - 3_000) < 330
    assert 30 < len(dues) - len(inside) < 150


def test_recorded_tenants_are_dealt_out_and_each_keeps_its_own_times() -> None:
    incident = Recorded(((1, 5), (2,), (3, 9)))
    gate = ((0.0, 1.0),)
    dealt = [list(incident.due_ns(Draw(stream(1), 0.0, gate, place, 2))) for place in (0, 1)]
    assert dealt == [[1, 3, 5, 9], [2]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ramp(-1, 1),
        lambda: Ramp(1, 0),
        lambda: Ramp(float("nan"), 1),
        lambda: Spikes(1, 2, 1),
        lambda: Spikes(1, 0, 1),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(make: type[Schedule]) -> None:
    with pytest.raises(UsageError, match="no such schedule"):
        make()
