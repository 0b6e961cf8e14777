"""The drill: the lab is killed or frozen at some moment, and nothing of its run stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import anyio
import pytest

from lab.engine.api import engine
from lab.engine.belongings import residue
from lab.errors import LabError
from lab.healing import healer
from lab.healing.healer import Lease
from lab.journal import Acted, read
from tests.docker.standing import ROOT, fresh_run, held

pytestmark = pytest.mark.docker
HEAL_SECONDS = 5.0
LAB = """
import sys, anyio
from pathlib import Path
from lab.healing.healer import Lease
from lab.stack.standing import standing
from lab.stack.file import load

async def main():
    run, folder, ttl, system = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    async with Lease(run, folder, ttl):
        print("leased", flush=True)
        options = dict(run=run, folder=folder, cohorts=("quiet",), say=lambda _: None)
        async with standing(load(system), **options):
            print("up", flush=True)
            await anyio.sleep(60)

anyio.run(main)
"""


def lab(run: str, folder: Path, ttl_seconds: float = 10) -> subprocess.Popen[bytes]:
    """A process that stands the smallest system up and keeps it, under a lease."""
    words = (run, str(folder), f"{ttl_seconds:g}", str(ROOT / "compose" / "minimal"))
    return subprocess.Popen(
        [sys.executable, "-c", LAB, *words], cwd=ROOT, stdout=subprocess.PIPE, bufsize=0
    )


def until(process: subprocess.Popen[bytes], word: bytes) -> None:
    """Read the lab's output until it says `word`."""
    assert process.stdout is not None
    while (line := process.stdout.readline()) != word + b"\n":
        assert line, "the lab ended early"


def healed(folder: Path) -> Acted:
    """Wait for the healer's line in the journal."""
    late = monotonic() + HEAL_SECONDS + 5
    while monotonic() < late:
        if (folder / "journal.jsonl").exists() and (events := read(folder)):
            acted = [event for event in events if isinstance(event, Acted)]
            if acted:
                return acted[-1]
        sleep(0.02)
    pytest.fail("the healer did not act")


@pytest.mark.parametrize("after_lease_seconds", [0.0, 0.15, 0.3, 0.45, 0.6, 0.75])
def test_a_lab_killed_during_the_start_leaves_nothing(
    tmp_path: Path, after_lease_seconds: float
) -> None:
    run = fresh_run()
    with lab(run, tmp_path) as process:
        until(process, b"leased")
        sleep(after_lease_seconds)  # the moment of the kill is what is tried here
        process.kill()
        killed = monotonic()
        assert healed(tmp_path).reason == "the lab died"
        assert monotonic() - killed < HEAL_SECONDS
    assert residue(run) == ()


def test_a_lab_killed_while_it_stands_leaves_nothing_and_others_are_left_alone(
    tmp_path: Path,
) -> None:
    run, other = fresh_run(), fresh_run()
    with held(tmp_path / "other", other), lab(run, tmp_path / "own") as process:
        until(process, b"up")
        beside = residue(other)
        process.kill()
        assert healed(tmp_path / "own").action.startswith("removed 6")
        assert residue(run) == ()
        assert sorted(residue(other)) == sorted(beside)


def test_a_frozen_lab_is_healed_when_the_lease_runs_out_and_ends_when_it_thaws(
    tmp_path: Path,
) -> None:
    run = fresh_run()
    with lab(run, tmp_path, ttl_seconds=1) as process:
        until(process, b"up")
        os.kill(process.pid, signal.SIGSTOP)
        assert healed(tmp_path).reason == "no beat for 1 s"
        assert residue(run) == ()
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(20) == 1


def test_a_run_whose_healer_dies_does_not_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with Lease(fresh_run(), tmp_path) as lease:
            os.kill(lease.pid, signal.SIGKILL)
            await anyio.sleep(30)

    with pytest.raises(LabError, match="the healer is gone"):
        anyio.run(story)


def test_a_folder_has_one_lab_at_a_time_and_a_released_healer_does_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with Lease(fresh_run(), tmp_path):
            with pytest.raises(LabError, match="another lab"):
                async with Lease(fresh_run(), tmp_path):
                    pytest.fail("two labs")
        async with Lease(fresh_run(), tmp_path):
            pass

    anyio.run(story)
    assert not (tmp_path / "journal.jsonl").exists()


def test_the_next_start_sweeps_what_a_run_left_whose_lab_and_healer_are_gone(
    tmp_path: Path,
) -> None:
    run = fresh_run()
    with held(tmp_path, run):
        assert not any(run in name for name in healer.sweep_orphans())  # no lock: not ours to judge
        (tmp_path / "lab.lock").touch()
        assert len([name for name in healer.sweep_orphans() if run in name]) == 6
    with engine() as client:
        assert client.found(run) == ()
