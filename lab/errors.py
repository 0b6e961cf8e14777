"""The lab's exception tree: every error has an exit code and says what, where and how to mend it.

    LabError                exit 4  the lab itself failed: engine, image, start, heal, probe
      UsageError            exit 2  an unknown name, an invalid file or option
      ResidueError          exit 5  something of the run was left behind

`Refused` stands apart: it is a system under test saying a definite no, never a failure of the lab.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns; several may hold at once, `precedence` picks the one returned."""

    HELD = 0
    VIOLATED = 1
    USAGE = 2
    UNKNOWN = 3
    LAB_FAILED = 4
    RESIDUE = 5
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """One line for the generated table in the README."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.HELD: "every verdict HELD, on enough evidence",
    ExitCode.VIOLATED: "a claim was VIOLATED",
    ExitCode.USAGE: "usage: unknown name, invalid file or option",
    ExitCode.UNKNOWN: "UNKNOWN: too little evidence, fault not felt, generator late, noisy host",
    ExitCode.LAB_FAILED: "the lab failed: engine, image, start, heal, probe",
    ExitCode.RESIDUE: "something was left behind, and is named",
    ExitCode.INTERRUPTED: "interrupted (SIGINT), after healing",
    ExitCode.TERMINATED: "terminated (SIGTERM), after healing",
}

_PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.USAGE,
    ExitCode.LAB_FAILED,
    ExitCode.VIOLATED,
    ExitCode.RESIDUE,
    ExitCode.UNKNOWN,
    ExitCode.HELD,
)


def precedence(*codes: ExitCode) -> ExitCode:
    """The code to return when several hold; no code at all means no evidence, hence UNKNOWN."""
    return min(codes, key=_PRECEDENCE.index, default=ExitCode.UNKNOWN)


class LabError(Exception):
    """A failure of the lab, told in one line.

    `what` went wrong; `where` names the file, service or option; `mend` is what the person can do.
    """

    exit_code = ExitCode.LAB_FAILED

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.mend = what, where, mend

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.mend})" if self.mend else ""
        return f"{place}{self.what}{advice}"


@contextmanager
def one_line() -> Generator[None]:
    """Task groups wrap what goes wrong in groups; out of this comes the one LabError that matters.

    A group without any LabError is a bug of the lab and leaves as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        found = group.subgroup(LabError)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is None:
            raise
        raise found from group


class UsageError(LabError):
    """The person asked for something that does not exist or does not fit."""

    exit_code = ExitCode.USAGE


class ResidueError(LabError):
    """Something of the run is still there after clean-up."""

    exit_code = ExitCode.RESIDUE


class Refused(Exception):  # noqa: N818 - it is the driver contract's word for a definite no
    """The system under test said a definite no: the action certainly did not happen."""
