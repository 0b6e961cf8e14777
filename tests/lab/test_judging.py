"""What a result makes of the censuses in its journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import ExitCode
from lab.experiment import Experiment
from lab.healing.residue import AFTER, BEFORE
from lab.history import history
from lab.journal import Closed, Event, Sampled
from lab.judging import RESIDUE, Judged
from lab.system import Census
from lab.verdict import Status, Verdict

HELD = Verdict(verifier="x", claim="y", status=Status.HELD, reason="z")
CALM: Census = {"redis": ("maxmemory=1",)}


def seen(probe: str, items: Census) -> Sampled:
    """A reading."""
    return Sampled(probe=probe, at_ns=0, items=items)


def judged(*events: Event) -> Judged:
    """A result of these events whose only verdict is HELD."""
    story = Experiment(claim="", cohorts=(), workloads=(), phases=(), verifiers=())
    return Judged(Path(), story, history((), (*events, Closed(at_ns=1))), (HELD,))


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ((seen(BEFORE, CALM), seen(AFTER, CALM)), ()),
        ((seen(BEFORE, CALM), seen(AFTER, CALM | {"toxic": ("a",)})), ("toxic a",)),
        ((seen(BEFORE, CALM), seen(AFTER, {})), ("redis maxmemory=1 is gone",)),
        ((seen(BEFORE, {}), seen(RESIDUE, {"left": ("container c",)})), ("container c",)),
        ((), ()),
    ],
)
def test_what_is_not_as_it_was_before_is_residue_and_exit_5(
    events: tuple[Event, ...], left: tuple[str, ...]
) -> None:
    result = judged(*events)
    assert result.residue == left
    assert result.exit_code is (ExitCode.RESIDUE if left else ExitCode.HELD)
