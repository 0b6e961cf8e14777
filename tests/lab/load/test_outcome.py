"""What a driver's exceptions mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ServerDisconnectedError
from websockets.exceptions import ConnectionClosedError

from lab.actions import Abandon, Action, Claim, Edit, List, Raw, Read, Spend, Step, Work, Write
from lab.errors import LabError, Refused
from lab.history import Outcome
from lab.load.outcome import RECEIVED_MAX, bounded, classify, sent_by

DRIVER = Path("compose/some/driver.py")


class UnreadableError(ValueError):
    pass


@pytest.mark.parametrize(
    ("error", "outcome", "text"),
    [
        (Refused("quota\n exceeded"), Outcome.FAIL, "refused: quota exceeded"),
        (Refused(), Outcome.FAIL, "refused"),
        (Refused("x" * 500), Outcome.FAIL, "refused: " + "x" * 80),
        (TimeoutError(), Outcome.INFO, "timeout"),
        (ConnectionResetError(), Outcome.INFO, "reset"),
        (OSError(113, "no route"), Outcome.INFO, "reset"),
        (EOFError(), Outcome.INFO, "reset"),
        (ConnectionClosedError(None, None), Outcome.INFO, "reset"),
        (ServerDisconnectedError(), Outcome.INFO, "reset"),
        (RuntimeError(), Outcome.INFO, "RuntimeError"),
        (UnreadableError(), Outcome.INFO, "UnreadableError"),
    ],
)
def test_only_a_refusal_is_a_definite_no(error: Exception, outcome: Outcome, text: str) -> None:
    assert classify(error, DRIVER) == (outcome, text)


@pytest.mark.parametrize(
    "bug", [KeyError("op"), AttributeError("x"), AssertionError(), TypeError()]
)
def test_a_drivers_bug_is_an_error_of_the_lab_that_names_its_file(bug: Exception) -> None:
    with pytest.raises(LabError, match=type(bug).__name__) as caught:
        classify(bug, DRIVER)
    assert str(DRIVER) in str(caught.value)


@pytest.mark.parametrize(
    ("step", "sent"),
    [
        (Write("k", "v"), "v"),
        (Read("k"), "k"),
        (Work("query", 3), "query"),
        (Spend(5), "5"),
        (Edit("agent", 2), "agent"),
        (Claim("gpu"), "gpu"),
        (Abandon(Write("k", "v"), 1.0), "v"),
        (List(), ""),
        (Raw(b"\x00"), ""),
    ],
)
def test_the_record_says_what_was_sent(step: Step, sent: str) -> None:
    assert sent_by(step) == sent


def test_every_action_has_something_to_say_of_what_was_sent() -> None:
    assert {type(step) for step in _steps()} == set(Action.__args__)


def _steps() -> tuple[Action, ...]:
    small = (Write("k", "v"), Read("k"), List(), Work("q", 1), Spend(1), Edit("n", 1))
    return (*small, Claim("r"), Raw(b""))


def test_what_is_cut_off_a_reply_is_marked() -> None:
    assert bounded("x" * RECEIVED_MAX) == "x" * RECEIVED_MAX
    assert bounded("x" * (RECEIVED_MAX + 7)).endswith("x[cut: 7 more characters]")
