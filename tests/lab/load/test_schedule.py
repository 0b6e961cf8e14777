"""The schedule: the same for the same seed, Poisson, and never outside its gates."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import fmean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.actions import List, Read, Write
from lab.arrivals import Gate, Recorded
from lab.errors import LabError
from lab.load.schedule import Lane, lanes, merged, numbered, schedule_digest
from lab.load.wire import PhasePlan
from lab.system import Tenant
from lab.workload import Workload
from tests.fakes import behaviours

QUIET = tuple(Tenant(f"quiet-{n}", f"t-quiet-{n}", "quiet") for n in range(4))
NOISY = (Tenant("noisy-0", "t-noisy-0", "noisy"),)
CHAT = Workload("quiet", behaviours.chat, 20.0, frozenset({Write, Read, List}))
READS = Workload("noisy", behaviours.reads, 50.0, frozenset({Read}))
PHASE = PhasePlan("attack", 0, 10.0, (CHAT, READS))


def lane(per_second: float, seconds: float, gate: Gate | None = None, seed: int = 1) -> Lane:
    workload = replace(READS, per_second=per_second)
    gates = {} if gate is None else {0: gate}
    return Lane(seed, PhasePlan("p", 0, seconds, (workload,), gates), NOISY[0], 0)


def test_the_same_seed_gives_the_same_schedule_byte_for_byte() -> None:
    assert schedule_digest(7, PHASE, QUIET + NOISY) == schedule_digest(7, PHASE, QUIET + NOISY)
    assert schedule_digest(7, PHASE, QUIET + NOISY) != schedule_digest(8, PHASE, QUIET + NOISY)


def test_the_schedule_of_a_known_seed_has_not_changed() -> None:
    digest = schedule_digest(7, PHASE, QUIET + NOISY)
    assert digest.startswith("0d9e9ada8a171724")


def test_a_tenant_or_workload_more_leaves_all_other_arrivals_alone() -> None:
    def of(phase: PhasePlan, tenants: tuple[Tenant, ...]) -> dict[str, list[int]]:
        return {each.prefix: list(each.arrivals()) for each in lanes(7, phase, tenants)}

    alone = of(replace(PHASE, workloads=(CHAT,)), QUIET[:2])
    crowded = of(PHASE, QUIET + NOISY)
    assert alone.items() <= crowded.items()


def test_arrivals_of_all_lanes_come_in_due_order_with_unique_ids() -> None:
    whole = tuple(lanes(3, PHASE, QUIET + NOISY))
    arrivals = list(merged(numbered(k, each.arrivals()) for k, each in enumerate(whole)))
    assert arrivals == sorted(arrivals)
    ids = [f"{whole[at].prefix}{number}" for _, at, number in arrivals]
    assert len(set(ids)) == len(ids)
    assert "attack/quiet-0/0/0" in ids


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), per_second=st.floats(20, 2_000))
def test_the_rate_is_what_was_asked_and_the_gaps_are_exponential(
    seed: int, per_second: float
) -> None:
    dues = list(lane(per_second, 2_000 / per_second, seed=seed).arrivals())
    gaps = [(after - before) / 1e9 * per_second for before, after in pairwise([0, *dues])]
    # 2,000 expected: 6 standard deviations are 270; mean and deviation of unit exponentials are 1.
    assert abs(len(dues) - 2_000) < 270
    assert fmean(gaps) == pytest.approx(1.0, abs=0.15)
    assert pstdev(gaps) == pytest.approx(1.0, abs=0.3)


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    edges = sorted(draw(st.lists(st.floats(0, 10), min_size=2, max_size=12, unique=True)))
    return tuple(zip(edges[::2], edges[1::2], strict=False))


@settings(deadline=None)
@given(gate=gates(), seed=st.integers(0, 2**32))
def test_no_arrival_is_due_while_its_gate_is_shut(gate: Gate, seed: int) -> None:
    dues = list(lane(200.0, 10.0, gate, seed).arrivals())
    windows = [(round(start * 1e9), round(end * 1e9)) for start, end in gate]
    assert all(any(start <= due < end for start, end in windows) for due in dues)
    assert dues == sorted(dues)


@settings(deadline=None)
@given(gate=gates(), seed=st.integers(0, 2**32))
def test_gated_arrivals_are_a_poisson_process_on_the_gates_own_time(gate: Gate, seed: int) -> None:
    """The same draws without a gate, with the clock stopped while it is shut, are the same."""
    open_seconds = sum(end - start for start, end in gate)
    gated = list(lane(200.0, 10.0, gate, seed).arrivals())
    free = list(lane(200.0, 10.0, ((0.0, open_seconds),), seed).arrivals())
    own_time = [_own_time(due, gate) for due in gated]
    assert (
        abs(len(own_time) - len(free)) <= 1
    )  # an arrival on the last edge may fall to either side
    assert all(abs(a - b) <= 20 for a, b in zip(own_time, free, strict=False))


def _own_time(due_ns: int, gate: Gate) -> float:
    return sum(min(due_ns, end * 1e9) - start * 1e9 for start, end in gate if due_ns > start * 1e9)


def test_a_rate_of_zero_has_no_arrivals() -> None:
    assert not list(lane(0.0, 10.0).arrivals())


@pytest.mark.parametrize("gate", [((2.0, 1.0),), ((0.0, 3.0), (2.0, 4.0)), ((0.0, 11.0),)])
def test_a_gate_that_is_not_rising_windows_inside_its_phase_is_refused(gate: Gate) -> None:
    with pytest.raises(LabError, match="not rising windows"):
        lane(1.0, 10.0, gate)


def test_a_behaviour_that_ends_is_refused_by_name() -> None:
    ending = replace(READS, behaviour=behaviours.short)
    with pytest.raises(LabError, match="behaviour short ended"):
        schedule_digest(1, replace(PHASE, workloads=(ending,)), NOISY)


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_the_workers_lanes_together_are_those_of_one(workers: int) -> None:
    def told(*shares: tuple[int, int]) -> list[tuple[str, tuple[int, ...]]]:
        """Every lane's prefix and due times."""
        tenants = QUIET + NOISY
        each = (lane for share in shares for lane in lanes(7, shaped, tenants, share))
        return sorted((lane.prefix, tuple(lane.arrivals())) for lane in each)

    incident = Recorded(((0, 10**9), (5, 7), (6,), (8,), (9, 2 * 10**9)))
    shaped = replace(PHASE, workloads=(CHAT, READS, replace(CHAT, schedule=incident)))
    assert told(*((k, workers) for k in range(workers))) == told((0, 1))
