"""What the benchmarks share that perform stories of their own on one standing stack."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic_ns

from lab import journal, resources
from lab.campaign import run_id
from lab.companion import Companion
from lab.experiment import Experiment, Profile
from lab.healing.lease import Lease
from lab.history import History, Op, history
from lab.journal import Journal, Opened
from lab.run import Ground, View, perform
from lab.stack.file import SystemFile
from lab.stack.standing import Stack, standing
from lab.system import DriverFactory, actions_of


class Silent:
    """A view that shows nothing."""

    def say(self, line: str) -> None:
        """Not told."""

    def phase(self, name: str, seconds: float) -> None:
        """Not told."""

    def ops(self, batch: Sequence[Op]) -> None:
        """Not counted."""


SILENT = Silent()


def unsaid(line: str) -> None:
    """Not told."""


@asynccontextmanager
async def leased(
    system: SystemFile,
    folder: Path,
    *,
    cohorts: Sequence[str] = (),
    mode: str = "",
    fittings: Collection[str] = (),
    shielded: bool = False,
    say: Callable[[str], None] = unsaid,
    run: str = "",
) -> AsyncGenerator[Stack]:
    """The system standing under a lease: when the benchmark dies, the healer takes it down.

    All as in `lab.stack.standing`; run: a new one unless it is given.
    """
    run = run or run_id()
    up = standing(
        system, run=run, folder=folder, cohorts=cohorts, mode=mode, fittings=fittings,
        shielded=shielded, say=say,
    )  # fmt: skip
    async with Lease(run, folder), up as stack:
        yield stack


async def played(
    story: Experiment,
    stack: Stack,
    driver: DriverFactory,
    folder: Path,
    *,
    name: str,
    seed: int,
    companions: tuple[Companion, ...] = (),
    view: View = SILENT,
    ops: list[Op] | None = None,
    writing: Callable[[Path], Journal] = Journal,
    governor: bool = False,
) -> History:
    """What happened when the story was performed, with tenants of its own, and who went along.

    driver: the system's; folder: for the journal; name: whose tenants they are, with the seed; ops:
    a list of the caller's, which the operations are appended to; governor: whether one of the
    companions steps in. Raises LabError when the lab or the stack fails.
    """
    system, ops = stack.start.system, [] if ops is None else ops
    known = system.view(actions_of(driver))
    opened = Opened(
        run=stack.start.run,
        experiment=name,
        seed=seed,
        epoch_ns=monotonic_ns(),
        wall=datetime.now(UTC).isoformat(timespec="milliseconds"),
        profile=Profile.QUICK,
        mode=stack.site.mode,
        system=system.name,
        tenants=0,
        links=dict(known.links),
        abilities=tuple(sorted(known.abilities)),
        actions=tuple(sorted(known.actions)),
        shield=stack.shield is not None,
        governor=governor,
    )
    ground = Ground(
        stack.site,
        stack.lab,
        system.driver,
        stack.driver(driver),
        shelter=stack.shelter,
        companions=companions,
    )
    with writing(folder) as lines:
        lines.append(opened, durable=True)
        await perform(story, opened, ground, lines, view, ops)
    return history(ops, journal.read(folder), resources.read(folder))


def say(line: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
