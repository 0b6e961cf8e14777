"""Processes of other programs that die with the lab, whatever ends it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

KILL_AFTER_SECONDS = 10
OUT_OF_TIME = 124
"""The exit status of timeout(1) when the limit was reached."""


async def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    extra: Mapping[str, str],
    limit_seconds: int,
) -> int:
    """Run a program, its output appended to `log`; returns its exit status, or OUT_OF_TIME.

    extra: added to the environment. The program and all its children end when the caller is
    cancelled, and when this process dies: the kernel then sends SIGTERM to timeout(1), which
    passes it on to its whole group (prctl(2), PR_SET_PDEATHSIG, by setpriv(1)).
    """
    guard = ["setpriv", "--pdeathsig=TERM", "timeout", f"--kill-after={KILL_AFTER_SECONDS}"]
    with log.open("ab") as sink:
        process = await anyio.open_process(
            [*guard, str(limit_seconds), *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=cwd,
            env={**os.environ, **extra},
            start_new_session=True,
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                with anyio.CancelScope(shield=True):
                    await process.wait()
