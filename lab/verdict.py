"""Three-valued verdicts: HELD, UNKNOWN, VIOLATED; the worst wins, and none at all is UNKNOWN."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Status(StrEnum):
    """What became of a claim. Too little evidence is UNKNOWN, never HELD."""

    HELD = "HELD"
    UNKNOWN = "UNKNOWN"
    VIOLATED = "VIOLATED"

    @property
    def badness(self) -> int:
        """0 for HELD, 1 for UNKNOWN, 2 for VIOLATED."""
        return list(Status).index(self)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one verifier found.

    verifier: its short name, as in `latency`; claim: the sentence that was judged.
    reason: why this status, in words, with the numbers that decided.
    measured: the estimates, with units in the names (`p95_ratio`, `recovery_seconds`).
    exposures: the denominators (`reads`, `pairs`): how often the claim could have been broken.
    evidence: at most a few lines that show a violation, or what is missing for UNKNOWN.
    requirements: ids of `requirements.md` and OWASP ASVS that the claim answers.
    """

    verifier: str
    claim: str
    status: Status
    reason: str
    measured: dict[str, float] = {}
    exposures: dict[str, int] = {}
    evidence: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


def worst(verdicts: Iterable[Verdict]) -> Status:
    """The worst status of all; UNKNOWN where there is none, for silence is no evidence."""
    return max((v.status for v in verdicts), key=lambda s: s.badness, default=Status.UNKNOWN)
