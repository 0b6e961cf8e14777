"""A process is known by its pid and when it began; one that has ended is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from lab.procfs import TICKS_PER_SECOND, began_ns, cgroup_folders, cpu_clock, started_ticks

WAITS = [sys.executable, "-S", "-c", "input()"]


def test_when_a_process_began_is_told_on_the_monotonic_clock() -> None:
    before_ns, tick_ns = time.monotonic_ns(), 10**9 // TICKS_PER_SECOND
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as child:
        began = began_ns(started_ticks(child.pid))
        child.communicate(b"\n")
    assert before_ns - 2 * tick_ns <= began <= time.monotonic_ns() + tick_ns


def test_a_process_begins_once() -> None:
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as child:
        assert started_ticks(child.pid) == started_ticks(child.pid) >= started_ticks(os.getpid())
        child.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        started_ticks(child.pid)


def test_one_that_has_ended_is_gone_also_before_its_parent_knows() -> None:
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # from here on it is a zombie
        with pytest.raises(ProcessLookupError, match="ended"):
            started_ticks(child.pid)


def test_a_processs_clock_counts_its_own_cpu_time() -> None:
    clock = cpu_clock(os.getpid())
    before = time.process_time()
    assert before <= time.clock_gettime(clock) <= time.process_time()


def test_a_process_is_in_some_group_and_one_that_is_not_there_in_none() -> None:
    assert all(folder.is_dir() for folder in cgroup_folders(os.getpid()).values())
    with pytest.raises(OSError, match="No such"):
        cgroup_folders(2**30)
