"""One process gets only the CPU time that nobody else wants, by a cgroup of its own (cpu.idle).

Work conserving, and felt within a millisecond. `nice` would do nothing between cgroups, and a CFS
quota leaves a tail in the neighbours' latency. Only where this process may write the host's cgroups
and they are version 1: in version 2 a group with processes of its own has no groups inside.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lab.errors import LabError
from lab.monitor.readers import cgroup_folders, started_ticks

CELL = "crosstalk-idle"
SHARES_MIN = "2"
"""The least weight there is, for kernels without cpu.idle (before 5.15)."""


def demote(pid: int, started: int) -> Path:
    """Move a process into an idle group below its own; returns that group.

    started: clock ticks since boot, for a pid alone is no identity. Raises LabError where it has
    ended, or cannot be moved.
    """
    try:
        if started_ticks(pid) != started:
            raise ProcessLookupError
        cell = cgroup_folders(pid)["cpu"] / CELL
        cell.mkdir(exist_ok=True)
        idle = cell / "cpu.idle"
        (idle if idle.exists() else cell / "cpu.shares").write_text(
            "1" if idle.exists() else SHARES_MIN
        )
        (cell / "cgroup.procs").write_text(str(pid))
    except KeyError:
        raise LabError("its CPU cannot be set apart: no cgroup v1 here") from None
    except (OSError, ProcessLookupError) as problem:
        raise LabError(f"process {pid} cannot be set apart: {problem}") from problem
    return cell


def promote(cell: Path) -> None:
    """Move everything back to where it was, and remove the group; one that has gone is fine."""
    with suppress(FileNotFoundError):
        for pid in (cell / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (cell.parent / "cgroup.procs").write_text(pid)
    with suppress(FileNotFoundError):
        os.rmdir(cell)
