"""`lab system check` on real containers: both built-in systems pass, and a dead end is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from lab.conformance.bench import Finding
from lab.conformance.examine import RULES, examine, exit_code
from lab.engine.belongings import residue
from lab.errors import ExitCode
from lab.stack import start

pytestmark = pytest.mark.docker
ROOT = Path(__file__).parents[2]
DEAF = """
services:
  app:
    image: python:3.11-slim-bookworm
    command: [python, -m, http.server, "8000", --bind, 127.0.0.1]
x-lab:
  entrances:
    client: {to: "app:8000"}
"""


def unsaid(_: str) -> None:
    """Progress is for people."""


def untold(_: Finding) -> None:
    """So are findings, one by one."""


@pytest.mark.parametrize(("system", "skipped"), [("compose/minimal", 4), ("compose/reference", 0)])
def test_a_built_in_system_has_nothing_bad_and_leaves_nothing(system: str, skipped: int) -> None:
    command = [sys.executable, "-m", "lab", "system", "check", system, "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    findings = {each["check"]: each for each in json.loads(done.stdout)}
    assert [each for each in findings.values() if each["status"] == "bad"] == []
    assert done.returncode == ExitCode.HELD, done.stderr
    assert findings.keys() >= {each.name for each in RULES}
    assert sum(each["status"] == "skipped" for each in findings.values()) == skipped


def test_an_entrance_behind_which_nobody_listens_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "START_SECONDS", 4.0)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "stack.yaml").write_text(DEAF)
    shutil.copy(ROOT / "compose" / "minimal" / "driver.py", folder)
    found = anyio.run(examine, folder, "", unsaid, untold)
    assert found[-1].status == "bad"
    assert found[-1].detail == "entrance client: nobody answers behind it"
    assert exit_code(found) is ExitCode.LAB_FAILED
    (run,) = (tmp_path / "runs").iterdir()
    assert residue(run.name) == ()
