"""The governor: goes along with a run, finds who disturbs the others, and stops exactly that one.

Detection is pure (`detector`); what is done is in `measures`; every act is in the journal with its
reason, and is undone when the tenant has calmed down or the run is over.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic, monotonic_ns

from anyio import CancelScope, create_task_group, move_on_after, sleep

from lab.companion import Scene
from lab.engine.shield import sheltered
from lab.errors import LabError, one_line
from lab.governor.case import CALM_SECONDS, Case, presses
from lab.governor.detector import Finding, NoisyNeighborDetector, What
from lab.governor.enforcer import PROBLEMS, QuotaEnforcer
from lab.governor.measures import Reach
from lab.governor.meter import Meter
from lab.history import Op
from lab.journal import GOVERNOR, Sampled
from lab.monitor import ResourceMonitor
from lab.procfs import began_ns
from lab.resources import Kind, Sample, Source

STALLED = "cpu_stalled_seconds"
LOOK_SECONDS, POLL_SECONDS, METER_SECONDS, METER_MAX_SECONDS = 0.05, 0.2, 0.12, 1.0


def _stays(_: int) -> None:
    """There is no shield."""


class Governor:
    """See `lab.companion.Companion`. unguarded: phases in which it only watches.

    monitor: whose samples of the tenants' own processes count, too; shelter: takes a process behind
    the run's shield, where this one has to be: strangers starve there.
    """

    def __init__(
        self,
        *,
        unguarded: frozenset[str] = frozenset(),
        monitor: ResourceMonitor | None = None,
        shelter: Callable[[int], None] = _stays,
    ) -> None:
        self._unguarded, self._monitor, self._shelter = unguarded, monitor, shelter
        if monitor is not None:
            monitor.level_seconds, monitor.poll_seconds = LOOK_SECONDS, POLL_SECONDS
        self._detector, self._meter = NoisyNeighborDetector(), Meter()
        self._epoch_ns = 0
        self._phase: tuple[int, str] = (0, "")
        self._cases: dict[str, Case] = {}
        self._met: set[Source] = set()

    @asynccontextmanager
    async def beside(self, scene: Scene) -> AsyncGenerator[None]:
        """Watch, and act, until the block is left; then everything is undone."""
        self._epoch_ns = scene.epoch_ns
        reach = Reach(scene.lab, self._agents)
        enforcer = QuotaEnforcer(reach, scene.journal, scene.epoch_ns)
        with one_line(), sheltered(self._shelter):
            async with create_task_group() as tasks:
                tasks.start_soon(self._count, scene)
                tasks.start_soon(self._watch, scene, enforcer)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
                    await enforcer.lift_all("the run is over")

    def see(self, batch: Sequence[Op]) -> None:
        """Operations that just ended."""
        self._meter.see(self._now_seconds, batch)
        self._detector.see(batch)
        latest = max((op.due_ns, op.phase) for op in batch) if batch else (0, "")
        self._phase = max(self._phase, latest)

    def _sampled(self) -> None:
        """What the monitor saw: tenants' processes and database sessions, services' pressure."""
        samples = self._monitor.latest() if self._monitor else dict[Source, Sample]()
        for source, sample in samples.items():
            at_seconds = (sample.at_ns - self._epoch_ns) / 1e9
            if source.kind in (Kind.AGENT, Kind.SESSIONS):
                if source.kind is Kind.AGENT and source not in self._met:
                    self._met.add(source)
                    began_seconds = (began_ns(source.started) - self._epoch_ns) / 1e9
                    self._meter.read(began_seconds, source.name, {"cpu_seconds": 0.0})
                self._meter.read(at_seconds, source.name, sample.values)
            elif source.kind is Kind.CONTAINER and STALLED in sample.values:
                self._detector.stall.see(source.name, at_seconds, sample.values[STALLED])

    def _agents(self) -> dict[str, Source]:
        """Everybody's own process, as far as the monitor knows it."""
        sources = self._monitor.latest() if self._monitor else ()
        return {source.name: source for source in sources if source.kind is Kind.AGENT}

    @property
    def _now_seconds(self) -> float:
        return (monotonic_ns() - self._epoch_ns) / 1e9

    async def _count(self, scene: Scene) -> None:
        """Ask the system what everybody took; one that is too busy to say is asked again."""
        while True:
            meters: Mapping[str, Mapping[str, float]] = {}
            try:
                with move_on_after(METER_MAX_SECONDS):
                    meters = await scene.lab.quotas.metered()
            except PROBLEMS:  # its own door is overwhelmed: operations and samples go on
                await sleep(METER_SECONDS)
            now = self._now_seconds
            for tenant, values in meters.items():
                self._meter.read(now, tenant, values)
            if unfinished := {t: v["in_flight"] for t, v in meters.items() if "in_flight" in v}:
                self._detector.suffering.wait(now, unfinished)
            await sleep(METER_SECONDS)

    async def _watch(self, scene: Scene, enforcer: QuotaEnforcer) -> None:
        while True:
            await sleep(LOOK_SECONDS)
            now = self._now_seconds
            self._sampled()
            self._detector.uses(now, self._meter.use(now))
            if finding := self._detector.judge(now):
                self._tell(scene, finding)
                if finding.what is What.CULPRIT and self._phase[1] not in self._unguarded:
                    await self._act(enforcer, finding)
                    self._detector.forget(self._now_seconds)
            await self._release(enforcer)

    def _tell(self, scene: Scene, finding: Finding) -> None:
        """A finding, into the journal."""
        items = {"what": (str(finding.what),), "words": (str(finding),)}
        values = {"slow": float(finding.evidence.slow), "of": float(finding.evidence.operations)}
        if finding.blames:
            worst = finding.blames[0]
            items |= {"culprit": (worst.tenant,), "resource": (worst.resource,)}
            values |= {"use": worst.use, "usual": worst.usual, "others": worst.others}
        at_ns = monotonic_ns() - self._epoch_ns
        scene.journal.append(Sampled(probe=GOVERNOR, at_ns=at_ns, items=items, values=values))

    async def _act(self, enforcer: QuotaEnforcer, finding: Finding) -> None:
        """Take the next measures against the culprit, all at once."""
        culprit, now = finding.blames[0].tenant, monotonic()
        case = self._cases.setdefault(culprit, Case(culprit))
        with CancelScope(shield=True):  # what is done is known to have been done, and is undone
            async with create_task_group() as measures:
                for step in case.next(now, finding.blames, self._detector.usual):
                    measures.start_soon(enforcer.enforce, step, str(finding))

    async def _release(self, enforcer: QuotaEnforcer) -> None:
        """Give back what was taken from tenants who are calm by now."""
        for tenant, case in tuple(self._cases.items()):
            use, usual = self._detector.use.get(tenant, {}), self._detector.usual.get(tenant, {})
            refused = self._meter.refusals(self._now_seconds, tenant)
            if case.calm(monotonic(), presses=presses(use, usual, refused)):
                del self._cases[tenant]
                with suppress(LabError):  # it is written down, and tried again at the end
                    await enforcer.lift(tenant, f"it was calm for {CALM_SECONDS:g} s")
