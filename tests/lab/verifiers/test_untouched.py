"""The neighbours of a crash lose nothing; a baseline that loses by itself judges nobody."""

from __future__ import annotations

import pytest

from lab.history import Op, Outcome
from lab.verdict import Status
from lab.verifiers.untouched import others_feel_nothing
from tests.histories import op, timed_out, told

JUDGE = others_feel_nothing(of="quiet", phase="crash")


def ops(phase: str, count: int, lost: int = 0) -> list[Op]:
    fine = [op(due=n, phase=phase) for n in range(count - lost)]
    return fine + [timed_out(due=n, phase=phase) for n in range(lost)]


@pytest.mark.parametrize(
    ("lost", "lost_before", "status"),
    [
        (0, 0, Status.HELD),
        (1, 0, Status.HELD),
        (3, 0, Status.VIOLATED),
        (3, 2, Status.HELD),
        (50, 20, Status.UNKNOWN),
    ],
)
def test_what_is_lost_beyond_the_baseline_is_counted(
    lost: int, lost_before: int, status: Status
) -> None:
    verdict = JUDGE(told(ops("baseline", 200, lost_before) + ops("crash", 200, lost)))
    assert verdict.status is status
    assert verdict.exposures == {"requests": 200, "requests_baseline": 200}


def test_too_few_requests_are_unknown() -> None:
    assert JUDGE(told(ops("baseline", 29) + ops("crash", 200))).status is Status.UNKNOWN
    assert JUDGE(told(ops("baseline", 200) + ops("crash", 29, 29))).status is Status.UNKNOWN


def test_what_the_lab_cut_off_and_what_the_target_lost_is_not_theirs() -> None:
    cut = [op(due=n, phase="crash", outcome=Outcome.INFO, error="abandoned") for n in range(50)]
    target = [timed_out("target-0", due=n, phase="crash") for n in range(50)]
    calm = ops("baseline", 200) + ops("crash", 200)
    assert JUDGE(told(calm + cut + target)).status is Status.HELD
