"""A verifier's own bug is UNKNOWN, by name, and never keeps the others from speaking."""

from __future__ import annotations

import pytest

from lab.history import History
from lab.verdict import Status, Verdict
from lab.verifiers import judge_all
from lab.verifiers.cleanup import nothing_left
from tests.histories import told


def broken(history: History) -> Verdict:
    """Everything is fine."""
    raise ValueError("no such column")


def test_a_verifier_that_raises_is_unknown_and_the_others_still_judge() -> None:
    first, second = judge_all((broken, nothing_left()), told([]))
    assert (first.status, first.verifier) == (Status.UNKNOWN, "test_judge_all")
    assert first.claim == "Everything is fine."
    assert "ValueError: no such column" in first.reason
    assert first.evidence[0].startswith("test_judge_all:") or ":" in first.evidence[0]
    assert second.verifier == "cleanup"


def test_an_interrupt_is_no_verdict() -> None:
    def stopped(history: History) -> Verdict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_all((stopped,), told([]))
