"""A swarm's schedule: the same every time, and every event in it stands on its own."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.clock import Skew
from faults.containers import Kill, Pause
from faults.disk import Fill
from faults.netns import Isolate
from faults.network import Down, Latency, Partition
from lab.experiment import Phase, Timed
from lab.fault import Fault, name_of, settings
from lab.nemesis.swarm import SLOT_SECONDS, swarm

POOL: tuple[Fault, ...] = (
    Latency("redis", 50),
    Latency("redis", 200),
    Partition("redis"),
    Down("postgres"),
    Kill("app"),
    Pause("app"),
)
SEEDS = st.integers(0, 2**31)
KNOWN = [
    ("kill on service app", 1.034, 4.645),
    ("partition on link redis", 10.508, 16.406),
    ("down on link postgres", 11.06, 13.937),
]
"""What seed 7 gives at density 0.5 in 20 s, on any machine."""

DENSITIES = st.sampled_from([0.1, 0.5, 1.0])


def written(schedule: tuple[Timed, ...]) -> bytes:
    """A schedule as bytes."""
    rows = [(e.fault.kind, settings(e.fault), e.start_seconds, e.end_seconds) for e in schedule]
    return msgspec.json.encode(rows)


@given(SEEDS, DENSITIES)
def test_the_same_seed_gives_the_same_schedule_byte_for_byte(seed: int, density: float) -> None:
    there = swarm(seed, POOL, density)
    assert written(there) == written(swarm(seed, POOL, density))
    assert written(there) == written(swarm(seed, tuple(reversed(POOL)), density))


def test_the_schedule_of_a_seed_never_changes() -> None:
    told = [(name_of(e.fault), e.start_seconds, e.end_seconds) for e in swarm(7, POOL, 0.5, 20)]
    assert told == KNOWN


@given(SEEDS, DENSITIES, st.sampled_from(POOL))
def test_a_fault_taken_out_of_the_pool_leaves_the_events_of_others(
    seed: int, density: float, without: Fault
) -> None:
    fewer = swarm(seed, tuple(fault for fault in POOL if fault != without), density)
    assert set(fewer) >= {e for e in swarm(seed, POOL, density) if e.fault != without}


@given(SEEDS, DENSITIES)
def test_a_longer_phase_begins_with_what_a_shorter_one_has(seed: int, density: float) -> None:
    short, long = swarm(seed, POOL, density, 30), swarm(seed, POOL, density, 90)
    assert long[: len(short)] == short
    assert all(event.start_seconds >= 30 for event in long[len(short) :])


@given(SEEDS, DENSITIES)
def test_no_two_faults_meet_on_one_target_and_all_end_in_their_slot(
    seed: int, density: float
) -> None:
    ends: dict[str, float] = {}
    for event in swarm(seed, POOL, density):
        assert event.start_seconds >= ends.get(event.fault.target, 0.0)
        assert event.start_seconds // SLOT_SECONDS == event.end_seconds // SLOT_SECONDS
        ends[event.fault.target] = event.end_seconds


@given(SEEDS)
def test_a_service_its_disk_its_clock_and_the_link_to_it_are_one_place(seed: int) -> None:
    pool = (
        Latency("redis", 50),
        Latency("redis@app", 50),
        Kill("redis"),
        Skew("redis", 30.0),
        Fill("redis"),
        Isolate("redis"),
    )
    schedule = swarm(seed, pool, 1.0, 30)
    assert [event.start_seconds // SLOT_SECONDS for event in schedule] == [0, 1, 2]


def test_density_is_the_share_of_slots_in_which_something_happens() -> None:
    assert len(swarm(1, POOL, 1.0, 600)) == 3 * 60
    assert 0.4 < len(swarm(1, POOL, 0.5, 6000)) / (3 * 600) < 0.6


def test_a_swarm_is_what_a_phase_takes() -> None:
    phase = Phase("chaos", 60, faults=(Down("redis"), *swarm(1, POOL)))
    assert phase.held == (Down("redis"),)
    assert phase.timed == swarm(1, POOL)


@pytest.mark.parametrize(("pool", "density"), [((), 0.5), (POOL, 0.0), (POOL, 1.1)])
def test_a_swarm_of_nothing_is_refused(pool: tuple[Fault, ...], density: float) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        swarm(1, pool, density)


def test_a_timed_fault_ends_after_it_begins_and_before_its_phase_does() -> None:
    with pytest.raises(ValueError, match="before it begins"):
        Timed(Down("redis"), 2, 2)
    with pytest.raises(ValueError, match="ends before"):
        Phase("short", 1, faults=(Timed(Down("redis"), 0, 2),))
