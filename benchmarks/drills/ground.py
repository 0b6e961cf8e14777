"""What a drill stands on: kept stacks of its own, and commands of the lab that it can kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from time import monotonic, sleep

import anyio

from lab.engine.api import engine
from lab.errors import LabError
from lab.fault import Fault, settings
from lab.healing import residue
from lab.healing.residue import Census
from lab.healing.undo import guests_of, unhealed
from lab.journal import Event, Injected, Injecting, read
from lab.stack.attached import attached

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
BUSY = 60.0
"""Seconds after which a healer that is still at work is no healer."""


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command of the lab in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "lab", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def done(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command of the lab."""
    with command(folder, *words) as process:
        output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def options(fault: Fault) -> list[str]:
    """The command line's words for a fault: its kind, and every field as an option."""
    fields = settings(fault).items()
    return [fault.kind, *(f"--{name.replace('_', '-')}={value}" for name, value in fields)]


@dataclass(frozen=True)
class Ground:
    """One kept stack, and how it is when it is calm."""

    folder: Path
    run: str
    calm: Census
    services: tuple[str, ...] = ()

    @property
    def journal(self) -> Path:
        """The folder of the stack's journal."""
        return self.folder / "runs" / self.run

    def inject(self, fault: Fault, lasting: str, ttl: str = "10s") -> subprocess.Popen[str]:
        """Start `lab inject`."""
        words = ("--for", lasting, "--run", self.run, "--ttl", ttl)
        return command(self.folder, "inject", *options(fault), *words)

    def events(self) -> tuple[Event, ...]:
        """The journal as it is, without a line that is being written."""
        return read(self.journal) if (self.journal / "journal.jsonl").exists() else ()

    def begun(self, process: subprocess.Popen[str], count: int) -> bool:
        """Wait for undo record number `count` of the journal; False when the command ended."""
        return self._await(process, Injecting, count)

    def in_place(self, process: subprocess.Popen[str], count: int) -> bool:
        """Wait for injection number `count` of the journal; False when the command ended."""
        return self._await(process, Injected, count)

    def count(self, kind: type[Event]) -> int:
        """How many events of a kind the journal has."""
        return sum(isinstance(event, kind) for event in self.events())

    def _await(self, process: subprocess.Popen[str], kind: type[Event], count: int) -> bool:
        until = monotonic() + START_SECONDS
        while self.count(kind) < count:
            if process.poll() is not None or monotonic() > until:
                return self.count(kind) >= count
            sleep(0.001)
        return True

    def census(self) -> Census:
        """What the stack's hands see right now that is not calm."""

        async def look() -> Census:
            async with attached(self.run) as stack:
                return await residue.of_hands(stack.lab)

        try:
            return anyio.run(look)
        except LabError as error:
            return {"unseen": (str(error),)}

    def left(self) -> tuple[str, ...]:
        """What differs from the calm stack, and the faults that nobody healed."""
        events = self.events()
        open_ones = (f"unhealed {record.fault}" for record in unhealed(events))
        tenants = (f"tenant {name}" for name in guests_of(events))
        return (*residue.difference(self.calm, self.census()), *open_ones, *tenants)

    def calm_again(self, seconds: float) -> tuple[str, ...]:
        """What is still left after `seconds`, and after the healer is done; it may be nothing."""
        until = monotonic() + seconds
        while left := self.left():
            if monotonic() > until and (not at_work(self.journal) or monotonic() > until + BUSY):
                return left
            sleep(0.05)
        return ()

    def free(self) -> None:
        """Wait until the healer has let go of the stack. Raises LabError when it does not."""
        until = monotonic() + BUSY
        while at_work(self.journal):
            if monotonic() > until:
                raise LabError("the healer holds on to the stack", where=self.run)
            sleep(0.02)


def at_work(folder: Path) -> bool:
    """Whether a lab, or its healer, holds the lock of this run's folder."""
    with (folder / "lab.lock").open("ab") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def ground(folder: Path, system: Path, fits: Sequence[str] = ()) -> Generator[Ground]:
    """Stand a system up for the drills and take it down after them. Raises LabError."""
    fit = [word for each in fits for word in ("--fit", each)]
    code, output, errors = done(folder, "up", "--system", str(system.resolve()), *fit)
    if code != 0:
        raise LabError(f"the stack is not up: {errors.strip()}", where=str(system))
    run = next(line.split()[1] for line in output.splitlines() if line.startswith("run"))
    with engine() as client:
        mine = tuple(box.service for box in client.standing() if box.run == run)
    try:
        yield Ground(folder, run, Ground(folder, run, {}).census(), mine)
    finally:
        code, _, errors = done(folder, "down", run)
        if code != 0:
            raise LabError(f"the stack is not down: {errors.strip()}", where=run)
