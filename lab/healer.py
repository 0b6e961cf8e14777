"""What heals when the lab cannot: a second process that holds a lease on the run.

The lab writes a beat into a pipe twice a second. When the pipe closes (the lab was killed) or no
beat comes for the lease's time (the lab is frozen), the healer ends the processes the journal tells
of, removes everything that carries the run's label, and writes what it did into the journal. It is
in a session of its own, so that a signal to the lab's group does not reach it. A lease that was
given back makes it do nothing.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from pathlib import Path
from time import monotonic, monotonic_ns, sleep

from lab.engine.belongings import residue, runs, sweep
from lab.errors import LabError, UsageError
from lab.journal import FILE_NAME, Acted, Created, Event, Journal, Opened, read
from lab.lease import LOCK_NAME, READY, RELEASED, Lease

__all__ = ["Lease", "residue", "started_ticks", "sweep", "sweep_orphans"]

SETTLE_SECONDS = 0.4
"""A call under way in the engine when the lab died may still create something this much later."""

GIVE_UP_SECONDS = 60.0
"""After this the healer names what is left in its log and ends."""


def started_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (proc(5), field 22); None: gone.

    A pid alone is not an identity, since it is given again; together with this it is.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def sweep_orphans() -> tuple[str, ...]:
    """Remove what runs left whose lab is gone; returns what was there.

    A run is an orphan when nobody holds the lock in its folder. A folder that cannot be seen from
    here may belong to a lab on the other side of a mount, and a kept run to a person: both stay.
    """
    removed: list[str] = []
    for run, folder in runs().items():
        if _abandoned(Path(folder) / LOCK_NAME):
            removed += heal(run, Path(folder))
    return tuple(removed)


def _swept(run: str) -> tuple[str, ...]:
    """One sweep. An engine that does not answer is asked again: what it holds is still there."""
    try:
        return sweep(run)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        sleep(SETTLE_SECONDS)
        return ("the engine did not answer",)


def heal_dead(run: str, folder: Path) -> tuple[str, ...]:
    """As `heal`, for a person who names the run. Raises UsageError when its lab is still alive."""
    if (folder / LOCK_NAME).exists() and not _abandoned(folder / LOCK_NAME):
        raise UsageError("its lab is alive", where=run, mend="stop that one: it heals by itself")
    return heal(run, folder)


def _abandoned(lock: Path) -> bool:
    """Whether the lock's file is there and nobody holds it."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # not there, not ours to look into, or held by a lab that is alive
        return False
    return True


def heal(run: str, folder: Path) -> tuple[str, ...]:
    """End the run's processes and remove all it has in the engine, until two looks find nothing.

    Returns the names of what was there. Raises LabError with what is left after a minute.
    """
    try:
        removed = dict.fromkeys(_end_processes(folder))
    except LabError as damage:  # a damaged journal must not keep the containers alive
        sys.stderr.write(f"{damage}\n")
        removed = {}
    quiet, until = 0, monotonic() + GIVE_UP_SECONDS
    while quiet < 2:
        there = _swept(run)
        removed.update(dict.fromkeys(there))
        quiet = 0 if there else quiet + 1
        if monotonic() > until:
            raise LabError(f"still there: {', '.join(residue(run))}", where=run)
        if quiet == 1:
            sleep(SETTLE_SECONDS)
    return tuple(removed)


def _events(folder: Path) -> tuple[Event, ...]:
    """All journals of a run: a campaign has one in a folder for each story."""
    journals = sorted(folder.rglob(FILE_NAME))
    return tuple(event for path in journals for event in read(path.parent))


def _end_processes(folder: Path) -> list[str]:
    """SIGKILL the processes the journal tells of, if pid and start time still are theirs."""
    ended: list[str] = []
    for event in _events(folder):
        if isinstance(event, Created) and event.kind == "process":
            pid, _, ticks = event.name.partition(":")
            if started_ticks(int(pid)) == int(ticks):
                os.kill(int(pid), signal.SIGKILL)
                ended.append(f"process {event.name}")
    return ended


def _note(folder: Path, reason: str, action: str) -> None:
    """One `acted` line, for the run's readers; a line cut short by the kill goes first."""
    path = folder / FILE_NAME
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    opened = next((each for each in _events(folder) if isinstance(each, Opened)), None)
    at_ns = monotonic_ns() - opened.epoch_ns if opened else 0
    with Journal(folder) as journal:
        journal.append(
            Acted(actor="healer", action=action, reason=reason, at_ns=at_ns), durable=True
        )


def _until_needed(ttl_seconds: float) -> str:
    """Wait on the lease at standard input; why to heal, or nothing when it was given back."""
    while select.select([0], [], [], ttl_seconds)[0]:
        beats = os.read(0, 4096)
        if beats.endswith(RELEASED):
            return ""
        if not beats:
            return "the lab died"
    return f"no beat for {ttl_seconds:g} s"


def main(run: str, folder: Path, ttl_seconds: float) -> None:
    """The healer's process: deaf to the signals that end a lab, since that is when it is needed."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    os.write(1, READY)
    reason = _until_needed(ttl_seconds)
    if reason:
        began = monotonic()
        removed = heal(run, folder)
        _note(folder, reason, f"removed {len(removed)} in {monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
