"""What is done to one process from the host: it is signalled, or gets only the CPU that is left.

That takes no call to the engine, which is slow where it is needed most. The latter is by a cgroup
of its own (cpu.idle): work conserving, and felt within a millisecond. `nice` would do nothing
between cgroups, and a CFS quota leaves a tail in the neighbours' latency. Only where this process
may write the host's cgroups and they are version 1: in version 2 a group with processes of its own
has no groups inside.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.procfs import cgroup_folders, started_ticks

CELL = "crosstalk-idle"
SHARES_MIN = "2"
"""The least weight there is, for kernels without cpu.idle (before 5.15)."""


@dataclass(frozen=True, slots=True)
class Demoted:
    """A process's idle group, beside the group that it was in: all that is in there yields to it.

    Not below it: an idle process would still use up what its container may have.
    """

    cell: Path
    home: Path


def signalled(pid: int, started: int, number: int) -> None:
    """Signal exactly this process; one that has ended is fine. started: as for `demote`."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)  # from here on the pid cannot become another's
        try:
            if started_ticks(pid) == started:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def demote(pid: int, started: int) -> Demoted:
    """Move a process into an idle group of its own.

    started: clock ticks since boot, for a pid alone is no identity. Raises LabError where it has
    ended, or cannot be moved.
    """
    try:
        if started_ticks(pid) != started:
            raise ProcessLookupError
        home = cgroup_folders(pid)["cpu"]
        if home.name.startswith(CELL):
            raise LabError(f"process {pid} is set apart already")
        if not (home.parent / "cgroup.procs").exists():
            raise LabError(f"process {pid} is in no group that it could be taken out of")
        cell = home.parent / f"{CELL}-{pid}"
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
    return Demoted(cell, home)


def promote(demoted: Demoted) -> None:
    """Move everything back to where it was, and remove the group; one that has gone is fine."""
    with suppress(FileNotFoundError):
        for pid in (demoted.cell / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (demoted.home / "cgroup.procs").write_text(pid)
    with suppress(FileNotFoundError):
        os.rmdir(demoted.cell)
