"""The interpreter: performs an experiment on a standing stack and writes the journal.

The order is always the same: census, provision, connect, the phases, drain, retire, census.
Whatever happens, faults heal and the generator ends; after an error the stack is taken down with
its tenants.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic_ns
from typing import Protocol

from anyio import CancelScope, create_task_group, fail_after, move_on_after, sleep_until
from anyio import current_time as loop_time

from lab.canary import run_key
from lab.census import SETTLE_SECONDS, Censuses
from lab.companion import Companion, Scene
from lab.errors import LabError, one_line
from lab.experiment import Experiment, Phase
from lab.fault import Window
from lab.hands import Lab
from lab.hands.real.clients import tenant_clients
from lab.hands.real.quotas import DriverQuotas, sell, tenant_quotas
from lab.healing import residue
from lab.history import Op
from lab.journal import Acted, Entered, Journal, Left, Opened, Sampled, read
from lab.load.generator import Generator, generating
from lab.load.wire import GeneratorPlan, Health, PhasePlan
from lab.nemesis import guard
from lab.nemesis.faulting import Faulting
from lab.seeds import digest
from lab.stats.host import host_of
from lab.stats.paired import live_judgement
from lab.system import Ability, Census, Driver, DriverFactory, Site, Tenant, TenantPlan
from lab.verdict import Status

PROVISION_SECONDS = 60.0
LEAD_SECONDS = 0.1
"""A phase's load starts this much later than it is asked for: its schedule is built by then."""
LATE_OPS_SECONDS = 0.3
"""A look at the pairs waits this long for the answers of the last block."""


class View(Protocol):
    """Who watches: the terminal's live table, plain lines, or nobody."""

    def say(self, line: str) -> None:
        """One line of progress."""
        ...

    def phase(self, name: str, seconds: float) -> None:
        """A phase begins and takes at most `seconds`."""
        ...

    def ops(self, batch: Sequence[Op]) -> None:
        """Operations that just ended."""
        ...


def _stays(_: int) -> None:
    """A process of the lab stays where it is."""


@dataclass(frozen=True)
class Ground:
    """What a run stands on: a standing stack and the way to talk to it.

    shelter: takes a process of the lab behind the run's shield; companions: who goes along.
    """

    site: Site
    lab: Lab
    driver_path: Path
    driver: DriverFactory
    limits: guard.Limits = guard.USUAL
    shelter: Callable[[int], None] = _stays
    companions: tuple[Companion, ...] = ()


async def perform(
    experiment: Experiment,
    opened: Opened,
    ground: Ground,
    journal: Journal,
    view: View,
    ops: list[Op],
) -> None:
    """Perform the whole story: events go to the journal, operations are appended to `ops`.

    `ops` is the caller's, so that what was seen survives a failure. The journal's `opened` line is
    already written. Raises LabError when the lab or the stack fails.
    """
    run = _Run(experiment, opened, ground, journal, view, ops)
    driver = ground.driver(ground.site)
    try:
        with one_line():
            await run.story(driver)
    finally:
        with CancelScope(shield=True), move_on_after(SETTLE_SECONDS):
            await driver.close()


class _Run:
    """One performance: holds what every step needs, so that the steps stay short."""

    def __init__(
        self,
        experiment: Experiment,
        opened: Opened,
        ground: Ground,
        journal: Journal,
        view: View,
        ops: list[Op],
    ) -> None:
        self.experiment, self.opened, self.ground = experiment, opened, ground
        self.journal, self.view, self.collected = journal, view, ops
        self.tenants: tuple[Tenant, ...] = ()
        self.faulting = Faulting(ground.lab, journal, opened.epoch_ns, ops)

    @property
    def limits(self) -> guard.Limits:
        """What the host must not pass; no fault is held for longer than the longest phase."""
        longest = max(phase.seconds for phase in self.experiment.phases)
        return replace(self.ground.limits, fault_seconds_max=longest + guard.GRACE_SECONDS)

    @property
    def now_ns(self) -> int:
        """Monotonic nanoseconds since the run's epoch."""
        return monotonic_ns() - self.opened.epoch_ns

    async def story(self, driver: Driver) -> None:
        """Everything between the first and the last census."""
        calm = await residue.of_hands(self.ground.lab)
        self.sample(residue.BEFORE, items=calm)
        censuses = self.censuses(driver)
        before = await censuses.before()
        await self.provision(driver)
        async with guard.guarding(self.limits, self.faulting.since) as lever:
            await self.phases(censuses)
        if lever.why:
            self.note(guard.ACTOR, "everything was healed and the run ended", lever.why)
            return
        await censuses.after(before, self.tenants)
        self.sample(residue.AFTER, items=await residue.settled(self.ground.lab, calm))

    def censuses(self, driver: Driver) -> Censuses:
        """Who counts what tenants hold, on this ground."""
        agents = Ability.AGENTS in self.opened.abilities
        return Censuses(
            driver,
            self.ground.driver_path,
            self.ground.lab.containers if agents else None,
            record=lambda probe, items: self.sample(probe, items=items),
            note=lambda action, why: self.note("driver", action, why),
        )

    async def provision(self, driver: Driver) -> None:
        """Create the tenants and note their ids (never their secrets) in the journal."""
        cohorts = {name: c.name for c in self.experiment.cohorts for name in c.tenants}
        plan = TenantPlan(cohorts, prefix=_prefix(self.opened), seed=self.opened.seed)
        try:
            with fail_after(PROVISION_SECONDS):
                made = await driver.provision(plan)
                await sell(self.experiment.cohorts, DriverQuotas(driver, made))
        except (OSError, RuntimeError) as error:
            raise LabError(f"no tenants: {error}", where=str(self.ground.driver_path)) from error
        key = run_key(self.opened.seed, self.opened.experiment)
        self.tenants = tuple(
            Tenant(t.name, t.id, t.cohort, canary_key=key, secrets=t.secrets) for t in made
        )
        self.faulting.lab = replace(self.ground.lab, tenants={t.name: t.id for t in self.tenants})
        self.sample("tenants", items={t.name: (t.id,) for t in self.tenants})

    async def phases(self, censuses: Censuses) -> None:
        """Connect everybody, play every phase in turn, and drain."""
        joined = (w for phase in self.experiment.phases for w in phase.joined_by)
        plan = GeneratorPlan(
            driver=self.ground.driver_path,
            site=self.ground.site,
            tenants=self.tenants,
            seed=self.opened.seed,
            epoch_ns=self.opened.epoch_ns,
            workloads=(*self.experiment.workloads, *joined),
        )
        ground = self.ground
        async with (
            generating(plan, on_ops=self.keep, journal=self.journal) as generator,
            tenant_clients(ground.driver, ground.driver_path, ground.site, self.tenants) as clients,
            tenant_quotas(ground.driver, ground.site, self.tenants) as quotas,
        ):
            self.faulting.lab = replace(self.faulting.lab, clients=clients, quotas=quotas)
            for pid in generator.pids:
                ground.shelter(pid)
            connected = await generator.connect()
            if connected.failed:
                raise LabError(
                    f"{len(connected.failed)} of {len(self.tenants)} tenants cannot connect:"
                    f" {connected.failed[0]}",
                    mend="`lab logs` shows the services' own words",
                )
            async with self.accompanied():
                calm = Window(1.0, (), {})
                for phase in self.experiment.phases:
                    seen = await self.play(phase, generator, calm)
                    calm = calm if phase.faults else seen
            await censuses.during()
            deadline = max(w.deadline_seconds for w in plan.workloads)
            health = await generator.finish(drain_seconds=deadline)
        self.tell_health(health)

    @asynccontextmanager
    async def accompanied(self) -> AsyncGenerator[None]:
        """With every companion beside, the last to come being the first to go."""
        ground, opened = self.ground, self.opened
        scene = Scene(self.faulting.lab, ground.site, self.tenants, self.journal, opened.epoch_ns)
        async with AsyncExitStack() as beside:
            for companion in ground.companions:
                await beside.enter_async_context(companion.beside(scene))
            yield

    def tell_health(self, health: Health) -> None:
        """The generator's own figures, and every moment in which the whole machine stood still."""
        for end_ns, stall_ns in health.stalls:
            at_ns = end_ns - self.opened.epoch_ns
            stall = Sampled(probe="stall", at_ns=at_ns, values={"stall_ms": stall_ns / 1e6})
            self.journal.append(stall)
        transport = {"transport": (health.transport,)}
        self.sample("generator", items=transport, values=health.values())

    async def play(self, phase: Phase, generator: Generator, before: Window) -> Window:
        """One phase, with its faults held for all of it; returns what was seen in it."""
        self.view.phase(phase.name, phase.seconds)
        self.journal.append(Entered(phase=phase.name, at_ns=self.now_ns))
        why = ""
        async with self.faulting.held(phase, before) as seen, create_task_group() as timed:
            start = loop_time() + LEAD_SECONDS
            for event in phase.timed:
                timed.start_soon(self.faulting.strike, phase, event, start, before)
            why = await self.load(phase, generator)
        self.journal.append(Left(phase=phase.name, at_ns=self.now_ns, why=why))
        return seen.window

    async def load(self, phase: Phase, generator: Generator) -> str:
        """Offer the phase's load until it ends or is decided; says why it ended."""
        design, seed = phase.paired, self.opened.seed
        workloads = (*self.experiment.workloads, *phase.joined_by)
        joined = range(len(self.experiment.workloads), len(workloads))
        gates = {index: design.gate(seed) for index in joined} if design else {}
        start, start_ns = loop_time() + LEAD_SECONDS, monotonic_ns() + int(LEAD_SECONDS * 1e9)
        await generator.play(PhasePlan(phase.name, start_ns, phase.seconds, workloads, gates))
        self.journal.append(
            Sampled(probe=f"load {phase.name}", at_ns=start_ns - self.opened.epoch_ns)
        )
        if design is None:
            await sleep_until(start + phase.seconds)
            return "time"
        quiet = {w.cohort for w in self.experiment.workloads} - {w.cohort for w in phase.joined_by}
        for look, at_seconds in zip(design.looks, design.look_seconds(), strict=True):
            await sleep_until(start + at_seconds + LATE_OPS_SECONDS)
            seen = [op for op in self.collected if op.phase == phase.name and op.cohort in quiet]
            since_ns = start_ns - self.opened.epoch_ns
            host = host_of(read(self.journal.path.parent), since_ns=since_ns)
            status = live_judgement(design, seed, seen, since_ns=since_ns, pairs=look, host=host)
            if status is not Status.UNKNOWN or look == design.looks[-1]:
                await generator.cut(phase.name)
                return f"{status} after {look} pairs"
            self.view.say(f"{phase.name}: not decided after {look} pairs, going on")
        return "time"

    def keep(self, batch: Sequence[Op]) -> None:
        """Take what the generator saw."""
        self.collected.extend(batch)
        self.view.ops(batch)
        for companion in self.ground.companions:
            companion.see(batch)

    def note(self, actor: str, action: str, reason: str) -> None:
        """Something that was done, or could not be, and why: into the journal, and told."""
        self.journal.append(Acted(actor=actor, action=action, reason=reason, at_ns=self.now_ns))
        self.view.say(f"{action}: {reason}")

    def sample(
        self,
        probe: str,
        *,
        items: Census | None = None,
        values: dict[str, float] | None = None,
    ) -> None:
        """A probe's reading, into the journal."""
        self.journal.append(
            Sampled(probe=probe, at_ns=self.now_ns, items=items or {}, values=values or {})
        )


def _prefix(opened: Opened) -> str:
    """A short tenant prefix of the story's own: stories that share a stack never share a tenant.

    From the seed, so that the same seed writes the same values, byte for byte.
    """
    return "t" + digest(opened.seed, "tenants", opened.experiment).hex()[:6]
