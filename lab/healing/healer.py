"""What heals when the lab cannot: a second process that holds a lease on the run.

The lab writes a beat into a pipe twice a second. When the pipe closes (the lab was killed) or no
beat comes for the lease's time (the lab is frozen), the healer acts: it ends the processes the
journal tells of and removes everything that carries the run's label; or, on a stack that somebody
keeps up, it heals the faults that the journal tells of and leaves the stack. What it did is in the
journal. It is in a session of its own, so that a signal to the lab's group does not reach it. A
lease that was given back makes it do nothing.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import IO, cast

import anyio

from lab import catalog
from lab.engine.belongings import kept_runs, residue, runs, sweep
from lab.engine.orphans import orphans
from lab.errors import LabError, UsageError
from lab.healing import mending
from lab.healing.lease import LOCK_NAME, READY, RELEASED, Lease, Scope
from lab.healing.undo import events_of, guests_of, under_way, unhealed
from lab.journal import FILE_NAME, Acted, Created, Event, Journal, Opened, read, trim
from lab.procfs import started_ticks

__all__ = ["Lease", "kept_runs", "residue", "runs", "sweep", "sweep_orphans"]

SETTLE_SECONDS = 0.4
"""Between two looks."""

QUIET_SECONDS, LONGEST_REQUEST_SECONDS = 3.0, 15.0
"""A call under way in the engine when the lab died may still create something: what comes within
the first is waited for in any case. A network was seen to come later than that, on a machine with
four times as much to do as it has cores; such calls are watched until they end, and no longer."""

GIVE_UP_SECONDS = 60.0
"""After this the healer names what is left in its log and ends."""


def sweep_orphans() -> tuple[str, ...]:
    """Remove what runs left whose lab is gone; returns what was there, and what was healed.

    A run is an orphan when nobody holds the lock in its folder. A folder that cannot be seen from
    here may belong to a lab on the other side of a mount: it stays. A kept stack belongs to a
    person: it stays too, and loses the faults that a dead lab left on it.
    """
    removed: list[str] = []
    for run, folder in runs().items():
        if _abandoned(Path(folder) / LOCK_NAME):
            removed += heal(run, Path(folder))
    for run, folder in kept_runs().items():
        removed += _healed_kept(run, Path(folder))
    return tuple(removed)


def _healed_kept(run: str, folder: Path) -> tuple[str, ...]:
    """As `mending.heal_faults`; somebody else's broken stack must not keep this run from it.

    Under the stack's lock: what is open in its journal is a dead lab's then, and nobody else's.
    """
    try:
        events = events_of(folder)
        left = unhealed(events) or guests_of(events)
        lock = _taken(folder / LOCK_NAME) if left else None
        if lock is None:
            return ()
        with lock:
            return anyio.run(mending.heal_faults, run, folder)
    except LabError as error:
        return (f"nothing of {run}: {error}",)


def _swept(run: str) -> tuple[str, ...]:
    """One sweep. An engine that does not answer is asked again: what it holds is still there."""
    try:
        return sweep(run)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        sleep(SETTLE_SECONDS)
        return ("the engine did not answer",)


def heal_dead(run: str, folder: Path) -> tuple[str, ...]:
    """As `heal`, for a person who names the run; a kept stack loses its faults and stays up.

    Raises UsageError when its lab is still alive.
    """
    lock = _taken(folder / LOCK_NAME)
    if lock is None and (folder / LOCK_NAME).exists():
        raise UsageError(
            "its lab is alive, or its healer at work", where=run, mend="stop it: it heals by itself"
        )
    with lock or nullcontext():
        if run in kept_runs():
            return anyio.run(mending.heal_kept, run, folder)
        return heal(run, folder)


def _abandoned(lock: Path) -> bool:
    """Whether the lock's file is there and nobody holds it."""
    with _taken(lock) or nullcontext() as taken:
        return taken is not None


def _taken(lock: Path) -> IO[bytes] | None:
    """The lock, until it is closed; None: not there, not ours to look into, or a living lab's."""
    try:
        file = lock.open("rb")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def heal(run: str, folder: Path) -> tuple[str, ...]:
    """End the run's processes and remove all it has in the engine, until it stays away.

    Works from the labels alone where there is no folder any more. Returns the names of what was
    there. Raises LabError with what is left after a minute.
    """
    try:
        removed = dict.fromkeys(_end_processes(folder))
    except LabError as damage:  # a damaged journal must not keep the containers alive
        sys.stderr.write(f"{damage}\n")
        removed = {}
    quiet_since, until = monotonic(), monotonic() + GIVE_UP_SECONDS
    while monotonic() - quiet_since < QUIET_SECONDS:
        if there := _swept(run):
            removed.update(dict.fromkeys(there))
            quiet_since = monotonic()
        else:
            sleep(SETTLE_SECONDS)
        if monotonic() > until:
            raise LabError(f"still there: {', '.join(residue(run))}", where=run)
    return tuple(removed)


def _late(run: str, asked: frozenset[int]) -> tuple[str, ...]:
    """Remove what the engine still makes of requests that a dead lab left; what there was.

    asked: those that were under way when it died, among others' (`lab/engine/orphans.py`).
    """
    removed: dict[str, None] = {}
    until, at_work = monotonic() + LONGEST_REQUEST_SECONDS, asked
    while at_work and monotonic() < until:
        at_work = asked & (orphans() or frozenset[int]())
        removed.update(dict.fromkeys(_swept(run)))  # after that look: it sees all that is done
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
            with suppress(ProcessLookupError):  # it has ended
                if started_ticks(int(pid)) == int(ticks):
                    os.kill(int(pid), signal.SIGKILL)
                    ended.append(f"process {event.name}")
    return ended


def _note(folder: Path, reason: str, action: str) -> None:
    """One `acted` line, for the run's readers; a line cut short by the kill goes first."""
    trim(folder)
    opened = next((each for each in _events(folder) if isinstance(each, Opened)), None)
    at_ns = monotonic_ns() - (opened.epoch_ns if opened else 0)
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


def _heal_faults(run: str, folder: Path) -> tuple[str, ...]:
    """As `mending.heal_faults`, again and again for a minute. Raises LabError after it."""
    until = monotonic() + GIVE_UP_SECONDS
    while True:
        try:
            return anyio.run(mending.heal_faults, run, folder)
        except LabError as error:
            sys.stderr.write(f"{error}\n")
            if monotonic() > until:
                raise
            sleep(SETTLE_SECONDS)


def _act(scope: Scope, run: str, folder: Path, reason: str) -> None:
    """Heal what the lease was for, and say so in the journal."""
    began = monotonic()
    if scope == "run":
        asked = orphans() or frozenset[int]()
        removed = heal(run, folder)
        _note(folder, reason, f"removed {len(removed)} in {monotonic() - began:.1f} s")
        if late := _late(run, asked):
            _note(folder, reason, f"removed {len(late)} that came later: {', '.join(late)}")
        return
    begun = under_way(events_of(folder))
    try:
        done = _heal_faults(run, folder)
        told = f"healed {len(done)} in {monotonic() - began:.1f} s: {', '.join(done)}"
    except LabError as error:  # what was only begun is seen to all the same
        told = f"not all healed in {monotonic() - began:.1f} s: {error}"
    _note(folder, reason, told)
    if left := anyio.run(mending.heal_again, run, begun):
        _note(folder, reason, f"not healed: {'; '.join(left)}")


def main(scope: Scope, run: str, folder: Path, ttl_seconds: float) -> None:
    """The healer's process: deaf to the signals that end a lab, since that is when it is needed."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    os.write(1, READY)
    if scope == "faults":
        catalog.faults()  # what takes time is done before it is needed
    if reason := _until_needed(ttl_seconds):
        _act(scope, run, folder, reason)


if __name__ == "__main__":
    main(cast("Scope", sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
