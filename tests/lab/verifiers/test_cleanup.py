"""The census after has to equal the one before; a census that says nothing holds nothing."""

from __future__ import annotations

import pytest

from lab.journal import Event, Sampled
from lab.verdict import Status
from lab.verifiers.cleanup import nothing_left
from tests.histories import op, tenants, told

BEFORE = {"keys": ("lab:marker",), "connections": ("app", "app"), "agents": ()}


def census(when: str, items: dict[str, tuple[str, ...]]) -> Sampled:
    return Sampled(probe=f"census {when}", at_ns=0, items=items)


DURING = census("during", BEFORE | {"connections": ("app", "app", "t3-quiet-0")})


def judged(*events: Event, busy: bool = True) -> tuple[Status, tuple[str, ...], str]:
    verdict = nothing_left()(told([op()] if busy else [], tenants("quiet-0"), *events))
    return verdict.status, verdict.evidence, verdict.reason


def test_equal_censuses_are_held_whatever_the_order_of_kinds() -> None:
    after = dict(reversed(BEFORE.items()))
    assert judged(census("before", BEFORE), DURING, census("after", after))[0] is Status.HELD


def test_a_census_that_saw_nobody_while_they_were_there_cannot_hold() -> None:
    for during in ((), (census("during", BEFORE),)):
        found = judged(census("before", BEFORE), *during, census("after", BEFORE))
        assert found[0] is Status.UNKNOWN
        assert "saw nothing" in found[2]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"keys": ("lab:marker", "state:t3-quiet-0")}, "+ keys: state:t3-quiet-0"),
        ({"keys": ()}, "- keys: lab:marker"),
        ({"connections": ("app", "app", "app")}, "+ connections: app"),
        ({"zombies": ("17",)}, "+ zombies: 17"),
    ],
)
def test_every_difference_is_a_violation_and_is_named(
    change: dict[str, tuple[str, ...]], line: str
) -> None:
    found = judged(census("before", BEFORE), census("after", BEFORE | change))
    assert found[:2] == (Status.VIOLATED, (line,))


def test_a_kind_that_is_no_longer_listed_is_a_difference() -> None:
    after = {kind: names for kind, names in BEFORE.items() if kind != "keys"}
    assert judged(census("before", BEFORE), census("after", after))[0] is Status.VIOLATED


def test_without_both_censuses_or_anything_in_them_nothing_is_known() -> None:
    assert "'after'" in judged(census("before", BEFORE))[2]
    assert "'before'" in judged(census("after", BEFORE))[2]
    for found in (
        judged(census("before", {}), census("after", {})),
        judged(census("before", BEFORE), census("after", BEFORE), busy=False),
        judged(census("before", BEFORE)),
    ):
        assert found[0] is Status.UNKNOWN


def test_without_tenants_there_was_nothing_to_leave() -> None:
    history = told([op()], census("before", BEFORE), census("after", BEFORE))
    assert nothing_left()(history).status is Status.UNKNOWN
