"""Stacks that people keep up to look around in, and healing what a kill left behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from lab.campaign import RUNS, prepare, run_id
from lab.engine.api import engine
from lab.engine.things import Standing
from lab.errors import UsageError
from lab.healing import healer
from lab.images.ensure import ImageNeed
from lab.stack import file as stackfile
from lab.stack.fittings import KEEPER_IMAGE, Fitting
from lab.stack.standing import cleared, standing

COHORT = "tenant"
"""A stack that is kept up has one way in for everybody."""


async def keep_up(
    folder: Path,
    mode: str,
    defects: tuple[str, ...],
    fittings: Collection[Fitting],
    say: Callable[[str], None],
) -> tuple[tuple[str, str], ...]:
    """Stand a system up and leave it up; returns its run and its addresses, by name."""
    system, run = stackfile.load(folder).in_mode(mode), run_id()
    await prepare([system], say, (ImageNeed(KEEPER_IMAGE),) if fittings else ())
    own = RUNS / run
    own.mkdir(parents=True, exist_ok=True)
    # The lease ends with this command: until then, a kill takes away what was begun.
    async with (
        healer.Lease(run, own),
        standing(
            system,
            run=run,
            folder=own,
            cohorts=(COHORT,),
            defects=defects,
            mode=mode,
            fittings=fittings,
            say=say,
            keep=True,
        ) as stack,
    ):
        ways = {f"entrance {name}": at for (name, _), at in stack.site.entrances.items()}
        probes = {f"observer {name}": at for name, at in stack.site.observers.items()}
        return (("run", run), *((name, str(at)) for name, at in (ways | probes).items()))


async def take_down(run: str, *, everyone: bool = False) -> tuple[str, ...]:
    """Remove a kept stack; returns what was removed.

    run: whose; without it, the only one that was started from here. everyone: every kept stack of
    this machine, whoever keeps it. Raises UsageError when it is not clear which one is meant.
    """
    kept = healer.kept_runs()
    chosen = sorted(kept) if everyone else [run or _only_mine(kept)]
    if unknown := set(chosen) - set(kept):
        raise UsageError(f"no kept stack {unknown.pop()!r}", mend=_told(kept))
    return tuple([name for one in chosen for name in await cleared(one)])


def _only_mine(kept: Mapping[str, str]) -> str:
    """The kept stack whose folder is among this folder's runs. Raises UsageError."""
    mine = [run for run, folder in kept.items() if Path(folder).parent == RUNS.resolve()]
    if not kept:
        raise UsageError("no stack is kept up", mend="`lab up` stands one up and leaves it")
    if len(mine) != 1 or len(kept) != 1:
        raise UsageError(f"{len(kept)} stacks are kept up: say which, or --all", mend=_told(kept))
    return mine[0]


def _told(kept: Mapping[str, str]) -> str:
    """Every kept stack, and the folder of whoever keeps it."""
    stacks = (f"{run} of {Path(folder).parent}" for run, folder in sorted(kept.items()))
    return f"there are: {', '.join(stacks) or '-'}"


def containers() -> tuple[Standing, ...]:
    """Every container of the lab, by run and service."""
    with engine() as client:
        return client.standing()


def logs(run: str, service: str) -> tuple[tuple[str, str], ...]:
    """(name, text) of the logs of a stack that is up, a kept one first: of one service, or all."""
    with engine() as client:
        boxes = client.standing()
        newest = run or max(((box.kept, box.run) for box in boxes), default=(False, ""))[1]
        wanted = [b for b in boxes if b.run == newest and service in ("", b.service)]
        if not wanted:
            known = ", ".join(sorted({b.service for b in boxes if b.run == newest}))
            raise UsageError(
                f"nothing is up as {newest} {service}".rstrip(), mend=known or "`lab up`"
            )
        return tuple((f"{box.service} of {box.run}", client.log(box.id)) for box in wanted)


def heal(run: str) -> tuple[str, ...]:
    """What a killed lab left, undone; in words. Without a run, of every run whose lab is dead.

    A stack that is kept up loses its faults and stays; anything else of the run is removed, also
    when its folder is gone. Raises UsageError for a run that left nothing anywhere, or whose lab is
    alive.
    """
    if not run:
        return healer.sweep_orphans()
    folder = Path(healer.kept_runs().get(run) or healer.runs().get(run) or RUNS / run)
    if not folder.is_dir() and not healer.residue(run):
        raise UsageError(f"there is no run {run!r}", mend="`lab runs` lists them")
    return healer.heal_dead(run, folder)


def unseen() -> tuple[str, ...]:
    """The runs that nobody here can judge, since their folders are gone or out of sight."""
    return tuple(run for run, folder in healer.runs().items() if not Path(folder).is_dir())


__all__ = ["containers", "heal", "keep_up", "logs", "take_down", "unseen"]
