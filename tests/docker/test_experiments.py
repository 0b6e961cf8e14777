"""The experiments on real containers, as a CI stage runs them: sound, planted, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from lab.engine.belongings import residue
from lab.healing.healer import LONGEST_REQUEST_SECONDS
from lab.host import PROBE
from lab.journal import GOVERNOR, Acted, Healed, Injected, Sampled, read
from lab.report.files import Result
from lab.verdict import Status

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]
ROOT = Path(__file__).parents[2]
GONE_SECONDS = 5.0
"""What a killed run may take to disappear."""
HEALER, WATCH_SECONDS = "lab.healing.healer", GONE_SECONDS + LONGEST_REQUEST_SECONDS
"""Its healer looks on for so long at the most: the engine may still be at work for the dead lab."""


def lab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The lab's own command line, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        capture_output=True,
        text=True,
        timeout=400,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )


def ran(*arguments: str) -> Result:
    """One experiment's result; its exit code is the process's own."""
    done = lab("run", *arguments, "--profile", "quick", "--json")
    result = msgspec.json.decode(done.stdout, type=Result)
    assert done.returncode == result.exit_code, done.stderr
    return result


def violated(result: Result) -> set[str]:
    """The verifiers that say VIOLATED."""
    return {v.verifier for v in result.verdicts if v.status is Status.VIOLATED}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Result], Path]:
    """The CI stage once, on the default system: every experiment by name, and the JUnit file."""
    junit = tmp_path_factory.mktemp("chaos") / "junit.xml"
    done = lab("chaos", "--json", "--junit", str(junit))
    results = msgspec.json.decode(done.stdout, type=list[Result])
    return {result.experiment: result for result in results}, junit


@pytest.mark.parametrize(
    "name", ["baseline", "cross_contamination", "partition", "quota_enforcement", "tenant_crash"]
)
def test_a_sound_platform_is_held(stage: tuple[dict[str, Result], Path], name: str) -> None:
    result = stage[0][name]
    assert result.status is Status.HELD, [v for v in result.verdicts if v.status != "HELD"]


@pytest.mark.parametrize(
    ("name", "verifier"),
    [
        ("noisy_neighbor", "latency"),
        ("fair_share", "fairness"),
        ("resource_leak", "leaks"),
        ("sustained_load", "leaks"),
    ],
)
def test_a_sound_platform_is_never_violated_by_greedy_tenants(
    stage: tuple[dict[str, Result], Path], name: str, verifier: str
) -> None:
    # A busy host may make it UNKNOWN, which is honest; VIOLATED would be a false alarm.
    result = stage[0][name]
    assert not result.error
    assert {verifier, "isolation", "cleanup"} <= {v.verifier for v in result.verdicts}
    assert not violated(result)


def test_the_stage_knows_who_used_the_cpu(stage: tuple[dict[str, Result], Path]) -> None:
    for result in stage[0].values():
        events = read(Path(result.folder))
        seen = [e.values for e in events if isinstance(e, Sampled) and e.probe == PROBE]
        first, last = seen[0], seen[-1]
        grown = {name: last[name] - first[name] for name in last}
        assert len(seen) > 20
        assert 0 < grown["own_seconds"] < 1.1 * grown["busy_seconds"]


def test_the_stage_writes_one_case_a_verdict(stage: tuple[dict[str, Result], Path]) -> None:
    results, junit = stage
    suites = ElementTree.parse(junit).getroot().findall("testsuite")
    assert [suite.get("name") for suite in suites] == list(results)
    for suite, result in zip(suites, results.values(), strict=True):
        assert len(suite.findall("testcase")) == len(result.verdicts)


def test_judging_again_needs_no_engine_and_says_the_same(
    stage: tuple[dict[str, Result], Path],
) -> None:
    for result in stage[0].values():
        done = lab("judge", result.folder, "--json", DOCKER_HOST="unix:///nonexistent.sock")
        again = msgspec.json.decode(done.stdout, type=Result)
        assert again.verdicts == result.verdicts
        assert done.returncode == result.exit_code


ALSO = {"shared_pool": {"recovery"}}
"""What else a defect does on a slow host: its queue takes longer to drain than there is time."""


@pytest.mark.parametrize(
    ("name", "defect", "verifier"),
    [
        ("noisy_neighbor", "shared_pool", "latency"),
        ("cross_contamination", "response_cache", "isolation"),
        ("partition", "redis_no_reconnect", "recovery"),
        ("tenant_crash", "orphan_agent", "cleanup"),
        ("quota_enforcement", "agent_memory_unlimited", "quota"),
        ("quota_enforcement", "queue_unbounded", "quota"),
        ("fair_share", "bucket_for_all", "fairness"),
    ],
)
def test_a_planted_defect_is_violated_by_its_verifier_alone(
    name: str, defect: str, verifier: str
) -> None:
    result = ran(name, "--defect", defect)
    assert result.exit_code == 1
    assert violated(result) - ALSO.get(defect, set()) == {verifier}


def test_a_governor_names_the_noisy_one_and_touches_nobody_else() -> None:
    # Whether the others recover within 10 % is a matter of the host: UNKNOWN on a busy one.
    result = ran("noisy_neighbor", "--governor")
    assert not result.error
    verdict = next(v for v in result.verdicts if v.verifier == "governor")
    assert verdict.status is not Status.VIOLATED, verdict.reason
    assert verdict.exposures["attacks_harmful"] == 1
    assert verdict.exposures["innocents_touched"] == verdict.exposures["wrong_names"] == 0
    acts = [e for e in read(ROOT / result.folder) if isinstance(e, Acted) and e.actor == GOVERNOR]
    assert {act.tenant for act in acts} == {"noisy-0"}
    assert any(act.action.startswith("lifted") for act in acts)


@pytest.mark.parametrize("name", ["cross_contamination", "partition"])
def test_the_smallest_system_is_held_to_the_same_claims(name: str) -> None:
    result = ran(name, "--system", "compose/minimal")
    assert result.status is Status.HELD, [v for v in result.verdicts if v.status != "HELD"]


def test_a_system_without_admission_control_is_violated() -> None:
    result = ran("noisy_neighbor", "--system", "compose/minimal")
    assert "latency" in violated(result)


CUT = ("run", "partition", "--profile", "quick", "--system", "compose/minimal")


@contextmanager
def begun() -> Generator[tuple[subprocess.Popen[str], str, Iterator[str]]]:
    """A run in a process of its own: the process, the run's id, the lines it goes on to print."""
    words = [sys.executable, "-m", "lab", *CUT]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        run = next(line.split()[1] for line in lines if line.startswith("run "))
        yield process, run, lines


@pytest.mark.parametrize("moment", [0.0, 0.6, 1.5, "phase baseline", "phase cut"])
def test_a_killed_lab_leaves_nothing_behind(moment: float | str) -> None:
    with begun() as (process, run, lines):
        if isinstance(moment, str):
            next(line for line in lines if moment in line)
        else:
            time.sleep(moment)  # the moment of the kill is the test's parameter, not a wait
        process.send_signal(signal.SIGKILL)

    def left() -> list[str]:
        """All but the healer, which watches the engine for a while after it has healed."""
        there = _processes(run, process.pid)
        return [*residue(run), *(line for line in there if HEALER not in line)]

    assert not _still(left, GONE_SECONDS)
    assert not _still(lambda: _processes(run, process.pid), WATCH_SECONDS)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_lab_heals_its_fault_and_says_so(number: signal.Signals, code: int) -> None:
    with begun() as (process, run, lines):
        next(line for line in lines if "phase cut" in line)
        folder = ROOT / "runs" / run
        while not any(isinstance(e, Injected) for e in read(folder)):
            time.sleep(0.05)
        process.send_signal(number)
        process.send_signal(number)
    assert process.returncode == code
    (healed,) = (event for event in read(folder) if isinstance(event, Healed))
    assert not healed.error
    assert not residue(run)
    assert not _processes(run, process.pid)


def _still(there: Callable[[], list[str]], seconds: float) -> list[str]:
    """What is still there after so long, or nothing as soon as nothing is."""
    until = time.monotonic() + seconds
    while (found := there()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _processes(run: str, parent: int) -> list[str]:
    """The command lines, anywhere on this machine, that name the run or are its generator's."""
    lines: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if run in text or f"lab.load.worker {parent} " in text:
            lines.append(text)
    return lines
