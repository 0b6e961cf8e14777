"""Performs one or several experiments on one stack: engine, images, lease, stack, runs, clean-up.

Everything outside a single story is here: what has to exist before it, and the proof that nothing
of it is left afterwards.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, monotonic_ns

from anyio import sleep, to_thread

from lab import catalog
from lab.catalog import Entry
from lab.companion import Companion
from lab.engine import machine
from lab.engine.audit import stays_inside
from lab.engine.netns import NETNS_IMAGE
from lab.errors import LabError, UsageError, one_line
from lab.experiment import Experiment, Profile, Setup
from lab.governor import Governor
from lab.healing import healer
from lab.healing.proof import prove
from lab.healing.residue import Census, difference, of_host
from lab.history import Op
from lab.host import HostWatch
from lab.images import ensure as images
from lab.images.ensure import ImageNeed
from lab.journal import Closed, Journal, Opened, Sampled
from lab.judging import EVENTS_FILE, RESIDUE, Judged, judge
from lab.load import events
from lab.load.generator import workers_asked_for
from lab.monitor.beside import Watching
from lab.run import Ground, View, perform
from lab.stack import file as stackfile
from lab.stack.file import SystemFile
from lab.stack.fittings import KEEPER_IMAGE, lacking
from lab.stack.plan import TOXIPROXY_IMAGE, check
from lab.stack.standing import Stack, standing
from lab.system import DriverFactory, actions_of
from lab.transport import chosen

GOVERNOR_HZ = 10.0
RUNS = Path("runs")
SETTLE_SECONDS = 1.0
"""What ends on its own, as a child does, has ended by then."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the person asked for. `names` are experiments, all performed on one stack.

    monitor_hz: how often the monitor reads what changes fast; 0: no monitor. governor: it steps in
    when a tenant disturbs the others.
    """

    names: tuple[str, ...]
    profile: Profile
    seed: int
    system: Path
    tenants: int = 0
    mode: str = ""
    defects: tuple[str, ...] = ()
    shield: bool = True
    monitor_hz: float = 1.0
    governor: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that was found to make sense: nothing has been started yet."""

    request: Request
    system: SystemFile
    driver: DriverFactory
    stories: tuple[tuple[Entry, Experiment], ...]
    mode: str
    run: str

    @property
    def cohorts(self) -> tuple[str, ...]:
        """The cohorts of all stories, each once: every one gets its own way in."""
        names = [c.name for _, story in self.stories for c in story.cohorts]
        return tuple(dict.fromkeys(names))

    @property
    def fittings(self) -> frozenset[str]:
        """What the stack has to be fitted with, for the faults of all stories."""
        return frozenset(need for _, story in self.stories for need, _ in story.fittings)


def plan(request: Request) -> Plan:
    """Check everything that can be checked without an engine. Raises UsageError."""
    chosen()  # raises for what the environment says wrong, as does the next
    workers_asked_for()
    entries = [catalog.experiment(name) for name in request.names]
    system = stackfile.load(request.system)
    mode = system.chosen_mode(request.mode)
    system = system.in_mode(mode)
    check(system)
    system.chosen_defects(request.defects)
    driver = stackfile.load_driver(system.driver)
    view = system.view(actions_of(driver))
    setup = Setup(request.profile, request.seed, view, request.tenants, request.governor)
    stories = tuple((entry, entry.build(setup)) for entry in entries)
    for entry, story in stories:
        if missing := (*story.lacks(setup.system), *lacking(system, story.fittings)):
            raise UsageError(
                f"{entry.name} needs what system {system.name} has not: {', '.join(missing)}",
                where=str(request.system),
                mend=f"what applies here: {', '.join(fitting(request.system)) or 'nothing yet'}",
            )
    return Plan(request, system, driver, stories, mode, run_id())


def fitting(folder: Path) -> tuple[str, ...]:
    """The names of all experiments that the system in `folder` has everything for."""
    system = stackfile.load(folder)
    view = system.view(actions_of(stackfile.load_driver(system.driver)))
    setup = Setup(Profile.QUICK, 0, view)
    stories = ((entry.name, entry.build(setup)) for entry in catalog.experiments().values())
    return tuple(
        name
        for name, story in stories
        if not story.lacks(view) and not lacking(system, story.fittings)
    )


def run_id() -> str:
    """A new run's id: when, and 24 random bits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


async def prepare(
    systems: Sequence[SystemFile], say: Callable[[str], None], also: Sequence[ImageNeed] = ()
) -> None:
    """Make sure of the engine and of every image these systems and the lab need."""
    await to_thread.run_sync(machine.ensure, say)
    needs = [ImageNeed(tag, build) for system in systems for tag, build in system.images()]
    await images.ensure([*needs, ImageNeed(TOXIPROXY_IMAGE), ImageNeed(NETNS_IMAGE), *also], say)
    for name in await to_thread.run_sync(healer.sweep_orphans):
        say(f"swept what a killed run left: {name}")


@asynccontextmanager
async def stood_up(what: Plan, folder: Path, view: View) -> AsyncGenerator[Stack]:
    """The stack under a lease: when the lab dies, the healer takes it down."""
    await to_thread.run_sync(prove, view.say)
    async with (
        healer.Lease(what.run, folder),
        standing(
            what.system,
            run=what.run,
            folder=folder,
            cohorts=what.cohorts,
            defects=what.request.defects,
            mode=what.mode,
            fittings=what.fittings,
            shielded=what.request.shield,
            say=view.say,
        ) as stack,
    ):
        await to_thread.run_sync(stays_inside, what.run)
        yield stack


async def conduct(
    what: Plan, view: View, told: Callable[[Judged], None] = lambda _: None
) -> tuple[Judged, ...]:
    """Perform every story of the plan; each gets a folder, verdicts and a report.

    Stories share a stack for as long as each leaves it clean. told: called with each story's result
    as soon as it is known. Raises LabError when the lab fails outside a story; a failure inside one
    is in its result, and ends the campaign.
    """
    began = monotonic()
    fittings = (ImageNeed(KEEPER_IMAGE),) if what.fittings else ()
    await prepare([what.system], view.say, fittings)
    prepared = monotonic() - began
    folder = RUNS / what.run
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Judged] = []
    host = await to_thread.run_sync(of_host, what.run)
    while len(results) < len(what.stories) and not any(r.error or r.tripped for r in results):
        async with stood_up(what, folder, view) as stack:
            timings = (("prepare", prepared), *stack.timings.items())
            async for result in _on_one_stack(what, stack, folder, view, done=len(results)):
                results.append(replace(result, timings=timings))
                told(results[-1])
            await stack.logs(folder / "logs")
        if left := difference(host, await _host(what.run, host)):
            results[-1] = replace(_with_residue(results[-1], left), timings=timings)
            told(results[-1])
    return tuple(results)


async def _on_one_stack(
    what: Plan, stack: Stack, folder: Path, view: View, *, done: int
) -> AsyncGenerator[Judged]:
    """Perform the stories after the first `done`, until one spoils the stack."""
    for entry, story in what.stories[done:]:
        own = folder if len(what.stories) == 1 else folder / entry.name
        result = await _one(what, entry, story, stack, own, view)
        yield result
        if result.error or result.spoiled:
            return


async def _host(run: str, before: Census) -> Census:
    """The host's census once it is as it was before, or a second later."""
    until = monotonic() + SETTLE_SECONDS
    while (after := await to_thread.run_sync(of_host, run)) != before and monotonic() < until:  # noqa: ASYNC110 - nobody tells
        await sleep(0.05)
    return after


def _with_residue(result: Judged, residue: tuple[str, ...]) -> Judged:
    """The same story, judged again with what was found after everything should have been gone."""
    opened = result.history.opened
    with Journal(result.folder) as journal:
        at_ns = monotonic_ns() - opened.epoch_ns
        journal.append(Sampled(probe=RESIDUE, at_ns=at_ns, items={"left": residue}), durable=True)
    return judge(result.folder)


async def _one(
    what: Plan, entry: Entry, story: Experiment, stack: Stack, folder: Path, view: View
) -> Judged:
    """Perform one story and judge it from what it wrote."""
    opened = _opened(what, entry, shield=stack.shield is not None)
    driver = stack.driver(what.driver)
    ground = Ground(
        stack.site,
        stack.lab,
        what.system.driver,
        driver,
        shelter=stack.shelter,
        companions=(HostWatch(what.run), *companions(what, story, stack)),
    )
    with Journal(folder) as journal:
        journal.append(opened, durable=True)
        ops: list[Op] = []
        error = "it was ended before its end"  # by a signal, or by a bug of the lab
        try:
            with one_line():
                await perform(story, opened, ground, journal, view, ops)
            error = ""
        except LabError as problem:
            error = str(problem)
        finally:
            events.write(folder / EVENTS_FILE, ops)
            at_ns = monotonic_ns() - opened.epoch_ns
            journal.append(Closed(at_ns=at_ns, error=error), durable=True)
    return await to_thread.run_sync(judge, folder)


def companions(what: Plan, story: Experiment, stack: Stack) -> tuple[Companion, ...]:
    """The run's monitor, unless nobody wants one, and its governor if somebody does.

    A story without a standing load has rests. A governor wants to know sooner than a person.
    """
    hz, rests = what.request.monitor_hz, not story.workloads
    hz = max(hz, GOVERNOR_HZ) if what.request.governor else hz
    watching = Watching(stack, what.driver, per_second=hz, rests=rests) if hz else None
    if not what.request.governor:
        return (watching,) if watching else ()
    assert watching is not None
    unguarded = frozenset(phase.name for phase in story.phases if not phase.governed)
    governor = Governor(unguarded=unguarded, monitor=watching.monitor, shelter=stack.shelter)
    return watching, governor


def _opened(what: Plan, entry: Entry, *, shield: bool) -> Opened:
    """The journal's first line."""
    view = what.system.view(actions_of(what.driver))
    return Opened(
        run=what.run,
        experiment=entry.name,
        seed=what.request.seed,
        epoch_ns=monotonic_ns(),
        wall=datetime.now(UTC).isoformat(timespec="milliseconds"),
        profile=what.request.profile,
        mode=what.mode,
        system=what.system.name,
        tenants=what.request.tenants,
        defects=what.request.defects,
        links=dict(view.links),
        abilities=tuple(sorted(view.abilities)),
        actions=tuple(sorted(view.actions)),
        shield=shield,
        governor=what.request.governor,
    )


def runs() -> Sequence[Path]:
    """The folders of all runs that have a journal, newest first."""
    return sorted((p.parent for p in RUNS.glob("*/**/journal.jsonl")), reverse=True)
