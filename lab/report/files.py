"""The artefacts a script or a CI reads: result.json (versioned) and junit.xml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from lab.journal import Left
from lab.judging import Judged
from lab.report.faulty import FaultResult, fault_results
from lab.verdict import Status, Verdict, worst

SCHEMA = 1


class PhaseResult(msgspec.Struct, frozen=True):
    """A phase as it went: start and length in seconds since the run's epoch, and why it ended."""

    name: str
    start_seconds: float
    seconds: float
    why: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`result.json`: everything a gate needs; `schema` grows when a field changes its meaning."""

    schema: int
    run: str
    experiment: str
    claim: str
    status: Status
    exit_code: int
    exit_codes: tuple[int, ...]
    error: str
    residue: tuple[str, ...]
    seed: int
    profile: str
    mode: str
    system: str
    tenants: int
    defects: tuple[str, ...]
    shield: bool
    wall: str
    operations: int
    phases: tuple[PhaseResult, ...]
    faults: tuple[FaultResult, ...]
    verdicts: tuple[Verdict, ...]
    timings_seconds: dict[str, float]
    folder: str


def result(judged: Judged) -> Result:
    """The result of one judged run."""
    opened = judged.history.opened
    return Result(
        schema=SCHEMA,
        run=opened.run,
        experiment=opened.experiment,
        claim=judged.experiment.claim,
        status=worst(judged.verdicts),
        exit_code=judged.exit_code,
        exit_codes=tuple(int(code) for code in judged.exit_codes),
        error=judged.error,
        residue=judged.residue,
        seed=opened.seed,
        profile=opened.profile,
        mode=opened.mode,
        system=opened.system,
        tenants=opened.tenants,
        defects=opened.defects,
        shield=opened.shield,
        wall=opened.wall,
        operations=len(judged.history.ops),
        phases=tuple(_phases(judged)),
        faults=fault_results(judged.history),
        verdicts=judged.verdicts,
        timings_seconds=dict(judged.timings),
        folder=str(judged.folder),
    )


def encode(results: Sequence[Result]) -> bytes:
    """JSON for people and scripts: one object for one result, a list for several."""
    data = msgspec.json.encode(results[0] if len(results) == 1 else results)
    return msgspec.json.format(data, indent=2) + b"\n"


def write_result(judged: Judged) -> Path:
    """Write `result.json` into the run's folder."""
    path = judged.folder / "result.json"
    path.write_bytes(encode([result(judged)]))
    return path


def write_junit(all_judged: Sequence[Judged], path: Path) -> None:
    """One suite an experiment, one case a verdict; UNKNOWN is an error, so no gate lets it pass."""
    report = JUnitXml("crosstalk")
    for judged in all_judged:
        opened = judged.history.opened
        suite = TestSuite(opened.experiment)
        suite.add_property("seed", str(opened.seed))
        suite.add_property("run", opened.run)
        for number, verdict in enumerate(judged.verdicts, start=1):
            suite.add_testcase(_case(opened.experiment, number, verdict))
        if judged.error or judged.residue:
            case = TestCase("the lab itself", opened.experiment)
            case.result = [Error("; ".join(filter(None, (judged.error, *judged.residue))))]
            suite.add_testcase(case)
        report.add_testsuite(suite)
    report.update_statistics()
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(str(path), pretty=True)  # pyright: ignore[reportUnknownMemberType] - lxml or not


def _case(experiment: str, number: int, verdict: Verdict) -> TestCase:
    case = TestCase(f"{number}. {verdict.verifier}: {verdict.claim}", experiment)
    message = "\n".join((verdict.reason, *verdict.evidence))
    if verdict.status is Status.VIOLATED:
        case.result = [Failure(message)]
    elif verdict.status is Status.UNKNOWN:
        case.result = [Error(message)]
    return case


def _phases(judged: Judged) -> list[PhaseResult]:
    """The phases that began and ended, in order."""
    phases: list[PhaseResult] = []
    for left in judged.history.of(Left):
        entered = judged.history.entered(left.phase)
        if entered is not None:
            seconds = (left.at_ns - entered.at_ns) / 1e9
            phases.append(PhaseResult(left.phase, entered.at_ns / 1e9, seconds, left.why))
    return phases
