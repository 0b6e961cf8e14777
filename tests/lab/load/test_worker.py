"""The generator's process never outlives the lab, however the lab ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

WORKER = (sys.executable, "-m", "lab.load.worker")
LAB = f"""
import os, subprocess, sys, time
worker = subprocess.Popen([*{WORKER!r}, str(os.getpid())], stdout=subprocess.DEVNULL)
print(worker.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_whose_stdin_closes_ends() -> None:
    command = [*WORKER, str(os.getpid())]
    ended = subprocess.run(command, input=b"", capture_output=True, timeout=20)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")


def test_a_worker_that_is_not_its_parents_child_any_more_ends() -> None:
    with subprocess.Popen([*WORKER, "1"], stdin=subprocess.PIPE) as orphan:
        assert orphan.wait(20) == 1


def test_a_worker_dies_with_a_lab_that_is_killed() -> None:
    """Its stdin stays open here, in the test's own hands: only the kernel's signal can end it."""
    ours, theirs = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", LAB], stdin=ours, stdout=subprocess.PIPE, text=True
    ) as lab:
        assert lab.stdout is not None
        worker = int(lab.stdout.readline())
        handle = os.pidfd_open(worker)
        _wait_for_signal_handling(worker)
        lab.kill()
        lab.wait(20)
    signalled = _ended(handle)
    for fd in (ours, theirs, handle):
        os.close(fd)
    assert signalled


def _wait_for_signal_handling(pid: int) -> None:
    """Until the process ignores SIGINT, which it does right after asking to die with its parent."""
    status = Path(f"/proc/{pid}/status")
    mask = 1 << (signal.SIGINT - 1)
    while not int(status.read_text().split("SigIgn:")[1].split()[0], 16) & mask:
        os.sched_yield()


def _ended(handle: int) -> bool:
    import select

    return bool(select.select([handle], [], [], 20)[0])
