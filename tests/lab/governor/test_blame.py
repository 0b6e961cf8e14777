"""Who is blamed: whoever uses more than before and far more than the others, and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.governor.blame import FLOORS, OUTSTANDING, Blame, Resource, Use, blame
from lab.governor.measures import Cap, Freeze, KillAgent, ladder

CPU, DATABASE = Resource.CPU, Resource.DATABASE
amounts = st.floats(0, 50)
uses = st.dictionaries(
    st.sampled_from([f"t-{n}" for n in range(8)]),
    st.dictionaries(st.sampled_from(list(Resource)), amounts),
    min_size=1,
)


def quiet(count: int, **cpu: float) -> Use:
    """So many tenants that use a little CPU, and some that use as much as is said."""
    return {f"quiet-{n}": {CPU: 0.05} for n in range(count)} | {
        name: {CPU: amount} for name, amount in cpu.items()
    }


def backwards(use: Use) -> Use:
    """The same, told in another order."""
    return dict(reversed(list(use.items())))


def test_the_one_who_uses_far_more_than_before_is_blamed() -> None:
    (found,) = blame(quiet(4, hog=0.05), quiet(4, hog=1.2))
    assert (found.tenant, found.resource) == ("hog", CPU)
    assert found.grown == pytest.approx(1.15)


def test_who_always_used_that_much_is_not_blamed() -> None:
    assert blame(quiet(4, hog=1.2), quiet(4, hog=1.25)) == ()


def test_growth_that_does_not_matter_is_nobodys_fault() -> None:
    assert blame(quiet(4), quiet(4, more=FLOORS[CPU] * 0.9)) == ()


def test_tenants_who_all_get_busier_have_no_culprit() -> None:
    busy: Use = {f"quiet-{n}": {CPU: 0.6 + n / 100} for n in range(6)}
    assert blame(quiet(6), busy) == ()


def test_a_second_culprit_does_not_hide_the_first() -> None:
    found = blame(quiet(8), quiet(8, one=1.0, two=0.9))
    assert [each.tenant for each in found] == ["one", "two"]


def test_who_waits_for_the_database_is_not_taken_for_who_keeps_it_busy() -> None:
    waiting: Use = {f"quiet-{n}": {DATABASE: 1.2} for n in range(9)}
    found = blame({}, waiting | {"noisy": {DATABASE: 9.0}})
    assert [each.tenant for each in found] == ["noisy"]


@given(usual=uses, now=uses)
def test_blame_needs_growth_over_the_floor_and_far_over_the_others(usual: Use, now: Use) -> None:
    for found in blame(usual, now):
        assert found.tenant in now
        assert found.grown >= FLOORS[found.resource]
        assert found.grown >= OUTSTANDING * found.others


@given(now=uses)
def test_nobody_is_blamed_for_what_is_usual(now: Use) -> None:
    assert blame(now, now) == ()


@given(usual=uses, now=uses)
def test_the_same_readings_blame_the_same_tenants_in_the_same_order(usual: Use, now: Use) -> None:
    assert blame(usual, now) == blame(backwards(usual), backwards(now))


@pytest.mark.parametrize("resource", list(Resource))
def test_every_ladder_is_about_the_culprit_alone_and_begins_with_a_cap(resource: Resource) -> None:
    rungs = ladder(Blame("noisy", resource, 500.0, 1.0, 1.0), {"quiet": {resource: 2.0}})
    steps = [step for rung in rungs for step in rung]
    assert {step.tenant for step in steps} == {"noisy"}
    assert any(isinstance(step, Cap) for step in rungs[0])
    assert not any(isinstance(step, (Freeze, KillAgent)) for step in rungs[0])
    assert len({str(step) for step in steps}) == len(steps)


def test_a_cap_leaves_the_culprit_what_its_neighbours_use() -> None:
    usual: Use = {f"quiet-{n}": {Resource.REQUESTS: 15.0} for n in range(3)}
    found = ladder(Blame("noisy", Resource.REQUESTS, 500.0, 0.0, 0.0), usual)
    assert found[0] == (Cap("noisy", "requests", 15.0),)
