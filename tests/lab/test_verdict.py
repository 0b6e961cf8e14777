"""The worst verdict wins, and no verdict is no evidence."""

from __future__ import annotations

import itertools

from lab.verdict import Status, Verdict, worst


def of(status: Status) -> Verdict:
    return Verdict(verifier="v", claim="c", status=status, reason="r")


def test_no_verdict_at_all_is_unknown() -> None:
    assert worst([]) is Status.UNKNOWN


def test_the_worst_wins_in_any_order() -> None:
    for order in itertools.permutations(Status):
        assert worst(map(of, order)) is Status.VIOLATED
    assert worst([of(Status.HELD), of(Status.UNKNOWN)]) is Status.UNKNOWN
    assert worst([of(Status.HELD)]) is Status.HELD
