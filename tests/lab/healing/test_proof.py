"""The proof of reaping ends, whatever the healer does, and is made anew when the code changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.healing import lease, proof


@pytest.mark.parametrize("does", ["input()", "print('hello', flush=True); input()", "pass"])
def test_a_healer_that_says_nothing_or_nonsense_does_not_hang_the_proof(
    does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "START_SECONDS", 0.5)
    (tmp_path / lease.LOG_NAME).touch()
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", does], stdin=pipe, stdout=pipe) as silent:
        with pytest.raises(LabError, match="the healer does not start"):
            proof._dropped(silent, tmp_path)  # pyright: ignore[reportPrivateUsage]
        silent.kill()
