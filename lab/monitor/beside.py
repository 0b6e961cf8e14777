"""A ResourceMonitor beside a run: its containers, each tenant's process, sessions, keys and meters.

What it reads goes into `resources.parquet` in the run's folder; what it notices, into the journal.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from anyio import CancelScope, create_task_group, move_on_after, sleep, to_thread

from lab import resources
from lab.companion import Scene
from lab.errors import LabError, one_line
from lab.hands.real.postgres import RunPostgres
from lab.hands.real.redis import RunRedis
from lab.history import Op
from lab.journal import Acted, Sampled
from lab.monitor import holdings
from lab.monitor.finding import Finder
from lab.monitor.leaks import WARM_UP_SECONDS, Leak, ResourceLeakDetector
from lab.monitor.monitor import ResourceMonitor
from lab.monitor.sample import GROWTH, RUNAWAY_CPU, Bound, Violation
from lab.monitor.stores import (
    MARK,
    StoreFeed,
    redis_commands,
    redis_replies,
    sessions_in,
    sessions_sql,
)
from lab.resources import Kind, Recorder, Sample, Source
from lab.stack.standing import Stack
from lab.system import Census, Driver, DriverFactory, Lending, Metered

ACTOR = "monitor"
PROBE, HELD = "monitor", "held"
"""Probes in the journal: what the monitor cost; what was held while everything rested."""
REST_SECONDS = 0.5
"""Nothing has ended for so long, though something had: the tenants rest."""
METER_SECONDS, CLOSE_SECONDS = 1.0, 5.0


class Watching:
    """The `Companion` that measures; `monitor` is there from the start, for whoever listens.

    driver: a system's, which may be `Metered` and `Lending`. per_second: ticks of the monitor, up
    to 20. rests: also write down what is held whenever the tenants rest, for stories that have such
    phases. warm_up_seconds: see `ResourceLeakDetector`.
    """

    def __init__(
        self,
        stack: Stack,
        driver: DriverFactory,
        *,
        per_second: float = 1.0,
        rests: bool = False,
        bounds: Iterable[Bound] = (RUNAWAY_CPU, GROWTH),
        warm_up_seconds: float = WARM_UP_SECONDS,
    ) -> None:
        self._stack, self._factory, self._rests = stack, driver, rests
        self._warm_up = warm_up_seconds
        self.monitor = ResourceMonitor(
            per_second=per_second,
            bounds=bounds,
            on_violation=self._violated,
            on_gone=self._gone,
        )
        self._detector: ResourceLeakDetector | None = None
        self._scene: Scene | None = None
        self._last_op = 0.0

    @asynccontextmanager
    async def beside(self, scene: Scene) -> AsyncGenerator[None]:
        """Measure while the block lasts, then write everything down."""
        self._scene = scene
        recorder, began = Recorder(scene.epoch_ns), time.monotonic()
        self._detector = ResourceLeakDetector(
            self._leaks, epoch_ns=scene.epoch_ns, warm_up_seconds=self._warm_up
        )
        self.monitor.subscribe(recorder.take)
        self.monitor.subscribe(self._detector.take)
        finder = Finder(
            self._stack.containers, {t.id: t.name for t in scene.tenants}, self._unmeasured
        )
        for feed in (finder, *self._stores(scene, finder)):
            self.monitor.attach(feed)
        driver = self._factory(scene.site)
        try:
            with self.monitor:
                async with create_task_group() as tasks:
                    if isinstance(driver, Metered):
                        tasks.start_soon(self._metering, scene, driver, finder)
                    if self._rests:
                        await self._look(scene, driver, finder)
                        tasks.start_soon(self._resting, scene, driver, finder)
                    yield
                    tasks.cancel_scope.cancel()
        finally:
            with CancelScope(shield=True), move_on_after(CLOSE_SECONDS):
                await driver.close()
            seen = recorder.resources()
            resources.write(scene.journal.path.parent, seen)
            self._told_cost(time.monotonic() - began, len(seen))

    def see(self, batch: Sequence[Op]) -> None:
        """What growth is counted against."""
        self._last_op = time.monotonic()
        if self._detector is not None:
            self._detector.see(batch)

    def _stores(self, scene: Scene, finder: Finder) -> Iterator[StoreFeed]:
        """A feed for each store of which the stack file tells whose is what."""
        lab, stores = scene.lab, self._stack.start.layout.stores
        ids = {tenant.name: tenant.id for tenant in scene.tenants}
        if stores.postgres and stores.postgres.tenant_sessions:
            assert isinstance(lab.postgres, RunPostgres)
            form = stores.postgres.tenant_sessions
            sql = sessions_sql({name: form.replace("{tenant}", each) for name, each in ids.items()})
            begin = partial(lab.postgres.every_second, sql, MARK)
            yield StoreFeed(stores.postgres.service, finder, begin, sessions_in, self._unmeasured)
        if stores.redis and stores.redis.tenant_keys:
            assert isinstance(lab.redis, RunRedis)
            commands = redis_commands([lab.redis.pattern_of(each) for each in ids.values()])
            begin, parse = partial(lab.redis.every_second, commands, MARK), redis_replies(list(ids))
            yield StoreFeed(stores.redis.service, finder, begin, parse, self._unmeasured)

    async def _metering(self, scene: Scene, driver: Metered, finder: Finder) -> None:
        """What the system itself counts for each tenant, which may share a process with others."""
        told = False
        while True:
            try:
                counted = await driver.metered()
                front = finder.mains[self._front]
            except KeyError:
                pass  # it is not there now, as its container's readings tell
            except (LabError, OSError, RuntimeError) as error:
                if not told:  # it may well be down on purpose
                    self._unmeasured("the system's own meters", str(error))
                told = True
            else:
                for tenant in (each for each in scene.tenants if each.id in counted):
                    source = replace(front, kind=Kind.METER, name=tenant.name)
                    sample = Sample(source, time.monotonic_ns(), counted[tenant.id])
                    self.monitor.take(sample)
            await sleep(METER_SECONDS)

    async def _resting(self, scene: Scene, driver: Driver, finder: Finder) -> None:
        """Write down what is held, about once a second, for as long as the tenants rest."""
        while True:
            await sleep(0.1)
            if self._last_op and time.monotonic() > self._last_op + REST_SECONDS:
                await self._look(scene, driver, finder)
                await sleep(REST_SECONDS)

    async def _look(self, scene: Scene, driver: Driver, finder: Finder) -> None:
        """What is held now, into the journal. The first look comes before any request."""
        try:
            items = await self._held(scene, driver, finder)
            self._record(Sampled(probe=HELD, at_ns=self._now_ns, items=items))
        except (LabError, OSError, RuntimeError) as error:
            self._unmeasured("what is held", str(error))

    async def _held(self, scene: Scene, driver: Driver, finder: Finder) -> Census:
        """By kind. All at once, so that it is one moment's. Raises LabError."""
        lab, stores = scene.lab, self._stack.start.layout.stores
        own = {block.service for block in (stores.postgres, stores.redis) if block}
        mains = {service: main for service, main in finder.mains.items() if service not in own}
        found: Census = {}
        sessions: list[str] = []

        async def of_system() -> None:
            found.update(await driver.lent() if isinstance(driver, Lending) else {})

        async def of_processes() -> None:
            found.update(await to_thread.run_sync(holdings.of_processes, mains, finder.tenant))

        async def of_postgres() -> None:
            if stores.postgres:
                sessions.extend(await lab.postgres.figures(holdings.SESSIONS))

        async def of_redis() -> None:
            if stores.redis and stores.redis.tenant_keys:
                patterns = [await lab.redis.keys_of(tenant.id) for tenant in scene.tenants]
                endless = await lab.redis.call("EVAL", holdings.ENDLESS, "0", *patterns)
                found["endless keys"] = tuple(sorted(endless.split()))

        with one_line():
            async with create_task_group() as looks:
                for look in (of_system, of_processes, of_postgres, of_redis):
                    looks.start_soon(look)
        used = holdings.connections(found.get("connections", ()), sessions)
        return found | ({"connections": used} if stores.postgres else {})

    def _violated(self, violation: Violation) -> None:
        source, metric = violation.source, violation.bound.metric
        self._noticed(f"{source.kind} {source.name} exceeds {metric}", str(violation))

    def _leaks(self, leak: Leak) -> None:
        self._noticed(f"{leak.source.kind} {leak.source.name} leaks", str(leak))

    def _gone(self, source: Source) -> None:
        self._noticed(f"{source.kind} {source.name} is gone", f"process {source.pid} has ended")

    def _unmeasured(self, what: str, why: str) -> None:
        self._noticed(what, f"not measured: {why}")

    def _noticed(self, what: str, why: str) -> None:
        self._record(Acted(actor=ACTOR, action=what, reason=why, at_ns=self._now_ns))

    def _record(self, event: Acted | Sampled) -> None:
        if self._scene is not None:
            self._scene.journal.append(event)

    @property
    def _front(self) -> str:
        """The service at the system's first entrance, which counts for the whole system."""
        return next(iter(self._stack.start.system.entrances.values())).to.service

    @property
    def _now_ns(self) -> int:
        return time.monotonic_ns() - (self._scene.epoch_ns if self._scene else 0)

    def _told_cost(self, seconds: float, readings: int) -> None:
        cost = self.monitor.cpu_seconds
        share = cost / max(seconds, 1e-9) / (os.cpu_count() or 1)
        values = {"cpu_seconds": cost, "seconds": seconds, "share": share, "readings": readings}
        self._record(Sampled(probe=PROBE, at_ns=self._now_ns, values=values))
