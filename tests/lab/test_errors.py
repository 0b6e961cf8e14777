"""Exit codes: each means one thing, and the precedence is the documented one."""

from __future__ import annotations

import pytest

from lab.errors import ExitCode, LabError, UsageError, one_line, precedence


@pytest.mark.parametrize(
    ("codes", "wins"),
    [
        ([], ExitCode.UNKNOWN),
        ([ExitCode.HELD], ExitCode.HELD),
        ([ExitCode.HELD, ExitCode.UNKNOWN], ExitCode.UNKNOWN),
        ([ExitCode.UNKNOWN, ExitCode.RESIDUE], ExitCode.RESIDUE),
        ([ExitCode.RESIDUE, ExitCode.VIOLATED], ExitCode.VIOLATED),
        ([ExitCode.VIOLATED, ExitCode.LAB_FAILED], ExitCode.LAB_FAILED),
    ],
)
def test_precedence_is_4_1_5_3_0(codes: list[ExitCode], wins: ExitCode) -> None:
    assert precedence(*codes) is wins


def test_every_code_has_a_meaning() -> None:
    assert all(code.meaning for code in ExitCode)


def test_an_error_says_what_where_and_how_to_mend_it() -> None:
    assert str(LabError("it broke", where="there", mend="glue it")) == "there: it broke (glue it)"


def test_a_group_leaves_as_its_one_lab_error() -> None:
    with pytest.raises(UsageError), one_line():
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [UsageError("no")])])


def test_a_group_without_a_lab_error_is_a_bug_and_stays_one() -> None:
    with pytest.raises(ExceptionGroup), one_line():
        raise ExceptionGroup("tasks", [ValueError("bug")])
