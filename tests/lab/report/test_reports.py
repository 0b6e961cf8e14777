"""What a gate and a person read: result.json, junit.xml, and the tables on the terminal."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from rich.console import Console

from lab.errors import ExitCode
from lab.experiment import Experiment, Phase
from lab.history import Op, Outcome, history
from lab.journal import Closed, Confirmed, Entered, Event, Healed, Injected, Left, Opened, Sampled
from lab.judging import Judged
from lab.report import files, terminal
from lab.verdict import Status, Verdict
from lab.workload import Cohort

OPENED = Opened(
    run="20260101-000000-abcdef", experiment="partition", seed=7, epoch_ns=0, wall="now",
    profile="quick", mode="", system="some", tenants=3,
)  # fmt: skip
EVENTS: tuple[Event, ...] = (
    OPENED,
    Entered(phase="cut", at_ns=0),
    Injected(fault="partition on link redis", asked_ns=1, at_ns=2),
    Confirmed(fault="partition on link redis", bit=True, how="nothing passed"),
    Healed(fault="partition on link redis", asked_ns=3, at_ns=4),
    Left(phase="cut", at_ns=2_000_000_000),
    Sampled(probe="census after", at_ns=5),
    Closed(at_ns=6),
)
OPS = [
    Op("a", "t-0", "t", 1, "read", "cut", 0, 1, 9_000_000, Outcome.OK),
    Op("b", "t-0", "t", 1, "read", "cut", 0, 1, 9_000_000, Outcome.INFO, "timeout"),
    Op("c", "t-0", "t", 1, "read", "cut", 0, 0, 0, Outcome.FAIL, "dropped"),
]


def verdict(status: Status) -> Verdict:
    return Verdict(
        verifier="recovery", claim="it comes back", status=status, reason="as seen",
        exposures={"windows": 32}, evidence=("a line of evidence",),
    )  # fmt: skip


def judged(folder: Path, *statuses: Status, events: tuple[Event, ...] = EVENTS) -> Judged:
    story = Experiment(
        claim="It comes back.",
        cohorts=(Cohort("t", 1),),
        workloads=(),
        phases=(Phase("cut", 2), Phase("never reached", 2)),
        verifiers=(),
    )
    return Judged(folder, story, history(OPS, events), tuple(verdict(s) for s in statuses))


def shown(one: Judged) -> str:
    console = Console(file=io.StringIO(), width=140)
    terminal.show(console, one)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((Status.HELD,), ExitCode.HELD),
        ((Status.HELD, Status.UNKNOWN), ExitCode.UNKNOWN),
        ((Status.UNKNOWN, Status.VIOLATED), ExitCode.VIOLATED),
        ((), ExitCode.UNKNOWN),
    ],
)
def test_the_exit_code_is_the_worst_verdicts(
    statuses: tuple[Status, ...], code: ExitCode, tmp_path: Path
) -> None:
    assert judged(tmp_path, *statuses).exit_code is code


def test_a_heal_that_failed_or_a_residue_is_in_the_codes(tmp_path: Path) -> None:
    failed = Healed(fault="f", asked_ns=1, at_ns=2, error="no answer")
    one = judged(tmp_path, Status.VIOLATED, events=(*EVENTS[:-1], failed, EVENTS[-1]))
    assert one.exit_code is ExitCode.LAB_FAILED
    found = Sampled(probe="residue", at_ns=9, items={"left": ("container x",)})
    left = judged(tmp_path, Status.HELD, events=(*EVENTS, found))
    assert left.exit_code is ExitCode.RESIDUE
    assert "left behind: container x" in shown(left)


def test_a_journal_without_its_last_line_is_a_killed_lab(tmp_path: Path) -> None:
    one = judged(tmp_path, Status.HELD, events=EVENTS[:-1])
    assert one.exit_code is ExitCode.LAB_FAILED
    assert "killed" in shown(one)


def test_the_result_says_everything_a_gate_needs(tmp_path: Path) -> None:
    path = files.write_result(judged(tmp_path, Status.HELD, Status.VIOLATED))
    result = msgspec.json.decode(path.read_bytes(), type=files.Result)
    assert (result.exit_code, result.status, result.seed) == (1, "VIOLATED", 7)
    assert result.exit_codes == (0, 1)
    assert result.phases == (files.PhaseResult("cut", 0.0, 2.0, "time"),)
    assert [v.status for v in result.verdicts] == ["HELD", "VIOLATED"]


def test_junit_fails_what_is_violated_and_errs_on_what_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "junit.xml"
    files.write_junit([judged(tmp_path, Status.HELD, Status.UNKNOWN, Status.VIOLATED)], path)
    (suite,) = ElementTree.parse(path).getroot().findall("testsuite")
    held, unknown, violated = suite.findall("testcase")
    assert [len(case) for case in (held, unknown, violated)] == [0, 1, 1]
    assert unknown[0].tag == "error"
    assert violated[0].tag == "failure"
    assert (suite.get("errors"), suite.get("failures")) == ("1", "1")


def test_the_timeline_counts_every_outcome_and_names_the_fault(tmp_path: Path) -> None:
    text = shown(judged(tmp_path, Status.HELD))
    (row,) = [line for line in text.splitlines() if line.startswith("│ cut")]
    assert [cell.strip() for cell in row.split("│")[4:8]] == ["t", "1", "1", "1"]
    assert "partition on link redis: bit, nothing passed" in " ".join(text.split())
    assert "never reached" not in text


def test_evidence_is_shown_for_what_is_not_held_only(tmp_path: Path) -> None:
    assert "a line of evidence" not in shown(judged(tmp_path, Status.HELD))
    assert "a line of evidence" in shown(judged(tmp_path, Status.VIOLATED))
