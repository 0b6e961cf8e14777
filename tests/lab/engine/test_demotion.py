"""One process, signalled or set apart from the host: that very one, and back again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from signal import SIGKILL

import pytest

from lab.engine import demotion
from lab.engine.demotion import Demoted, demote, promote, signalled
from lab.errors import LabError
from lab.procfs import cgroup_folders, started_ticks

Child = subprocess.Popen[bytes]


@pytest.fixture
def child() -> Generator[Child]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:
        yield process
        process.kill()


def test_exactly_this_process_is_signalled(child: Child) -> None:
    signalled(child.pid, started_ticks(child.pid) + 1, SIGKILL)  # another one had this pid
    assert child.poll() is None
    signalled(child.pid, started_ticks(child.pid), SIGKILL)
    assert child.wait(5) == -SIGKILL


def test_a_process_that_has_ended_is_left_alone(child: Child) -> None:
    started = started_ticks(child.pid)
    child.kill()
    child.wait()
    signalled(child.pid, started, SIGKILL)
    with pytest.raises(LabError, match="cannot be set apart"):
        demote(child.pid, started)


@pytest.fixture
def group() -> Generator[Path]:
    """A CPU group of this test's own on this host, as a container has one."""
    root = cgroup_folders(os.getpid()).get("cpu")
    assert root is not None, "these containers' CPU cannot be set apart: no cgroup v1 here"
    group = root / f"crosstalk-test-{os.getpid()}"
    group.mkdir()
    yield group
    group.rmdir()


@pytest.mark.docker
def test_a_process_gets_the_idle_cpu_only_and_is_back_where_it_was_afterwards(
    group: Path, child: Child
) -> None:
    (group / "cgroup.procs").write_text(str(child.pid))
    demoted = demote(child.pid, started_ticks(child.pid))
    cell = demoted.cell
    assert (cell.parent, demoted.home) == (group.parent, group)
    assert cgroup_folders(child.pid)["cpu"] == cell
    weight = cell / "cpu.idle"
    assert (weight if weight.exists() else cell / "cpu.shares").read_text().strip() in ("1", "2")
    with pytest.raises(LabError, match="set apart already"):
        demote(child.pid, started_ticks(child.pid))
    promote(demoted)
    assert cgroup_folders(child.pid)["cpu"] == group
    assert not cell.exists()
    promote(demoted)  # twice is fine


def test_what_is_in_no_group_cannot_be_set_apart(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demotion, "cgroup_folders", lambda pid: {"cpu": tmp_path / "root"})  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType] - the pid does not matter
    with pytest.raises(LabError, match="in no group"):
        demote(child.pid, started_ticks(child.pid))
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_any_more_needs_no_promotion(tmp_path: Path) -> None:
    promote(Demoted(tmp_path / "cell", tmp_path / "home"))
