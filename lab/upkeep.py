"""Stacks that people keep up to look around in, and healing what a kill left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab import healer
from lab.campaign import RUNS, prepare, run_id
from lab.engine.api import Standing, engine
from lab.errors import UsageError
from lab.stack import file as stackfile
from lab.stack.standing import cleared, standing

COHORT = "tenant"
"""A stack that is kept up has one way in for everybody."""


async def keep_up(
    folder: Path, mode: str, defects: tuple[str, ...], say: Callable[[str], None]
) -> tuple[tuple[str, str], ...]:
    """Stand a system up and leave it up; returns its run and its addresses, by name."""
    system, run = stackfile.load(folder), run_id()
    await prepare([system], say)
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
            say=say,
            keep=True,
        ) as stack,
    ):
        ways = {f"entrance {name}": at for (name, _), at in stack.site.entrances.items()}
        probes = {f"observer {name}": at for name, at in stack.site.observers.items()}
        return (("run", run), *((name, str(at)) for name, at in (ways | probes).items()))


async def take_down(run: str) -> tuple[str, ...]:
    """Remove a kept stack, or every kept one; returns what was removed."""
    kept = {box.run for box in containers() if box.kept}
    if run and run not in kept:
        raise UsageError(
            f"no kept stack {run!r}", mend=f"there are: {', '.join(sorted(kept)) or '-'}"
        )
    return tuple([name for one in ([run] if run else sorted(kept)) for name in await cleared(one)])


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
    """Remove what a killed run left; without a run, what every dead one left."""
    if not run:
        return healer.sweep_orphans()
    if not (RUNS / run).is_dir():
        raise UsageError(f"there is no run {run!r}", mend="`lab runs` lists them")
    return healer.heal_dead(run, RUNS / run)


__all__ = ["containers", "heal", "keep_up", "logs", "take_down"]
