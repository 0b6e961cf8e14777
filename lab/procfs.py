"""What the host's kernel tells of a process: when it began, where it belongs, how to read its CPU.

At the bottom: it imports nothing of the lab. Formats: proc(5), cgroups(7).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def started_ticks(pid: int) -> int:
    """When a process began, in clock ticks since boot (field 22 of its `stat`).

    A pid alone is no identity, since it is given again; together with this it is. Raises
    ProcessLookupError without such a process: one that has ended and was not waited for is none.
    """
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessLookupError(f"no process {pid}") from gone
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    if fields[0] in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[19])


def began_ns(ticks: int) -> int:
    """When that was, on the monotonic clock, which does not count the time a host sleeps."""
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * (10**9 // TICKS_PER_SECOND)
    return time.monotonic_ns() - age_ns


def cpu_clock(pid: int) -> int:
    """The clock of all threads of a process, for `time.clock_gettime` (clock_getcpuclockid(3))."""
    return (~pid << 3) | 2


def cgroup_folders(pid: int, proc: Path = PROC) -> dict[str, Path]:
    """Controller -> the folder of the process's cgroup in its tree; '' is the unified one (v2).

    Raises OSError without such a process.
    """
    mounts = dict(_mounted((proc / "mounts").read_text()))
    found: dict[str, Path] = {}
    for line in (proc / str(pid) / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in mounts:
                found[name] = mounts[name] / path.lstrip("/")
    return found


def _mounted(table: str) -> Iterator[tuple[str, Path]]:
    """Controller -> where it is mounted, from a mount table; '' for cgroup2."""
    for line in table.splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            yield "", Path(place)
        elif kind == "cgroup":
            for option in options.split(","):
                yield option, Path(place)
