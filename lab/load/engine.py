"""The load engine of one worker: starts every action at its due time and records what came of it.

Open loop. An action waits for nobody: not for earlier answers (too many unfinished ones and it is
dropped, on record), not for a session (without one it is `not connected`). Latency counts from the
due time, so a system that stands still cannot hide it from those who would have asked meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from time import monotonic_ns

import msgspec

from lab.actions import Step, name_of
from lab.errors import LabError
from lab.history import OVERHEARD, Op, Outcome
from lab.load.client import Client, Landing
from lab.load.outcome import DROPPED, sent_by
from lab.load.pacer import pacer
from lab.load.schedule import Arrival, Lane, lanes, merged, numbered
from lab.load.watch import TICK_NS, Tally, Watch
from lab.load.wire import Connected, GeneratorPlan, Health, PhasePlan
from lab.system import Driver

CONNECTING_MAX = 50
"""Sessions that are opened or closed at the same time."""
CENSOR_SECONDS = 0.1
"""How long the censored may take to unwind before they are told again."""
LANES_A_TURN = 20
"""A schedule is built in turns of this many lanes, for the phase before it may still be running."""


@dataclass(slots=True, eq=False)
class _Running:
    """A lane that is being played."""

    lane: Lane
    client: Client
    tally: Tally
    steps: Iterator[Step]
    prefix: str
    in_flight_max: int
    deadline_seconds: float
    in_flight: int = 0


class Engine:
    """Plays phases for the plan's tenants. `emit` gets each operation when it is over.

    tasks: what everything runs in; it raises the first LabError of any of them.
    """

    def __init__(
        self,
        plan: GeneratorPlan,
        driver: Driver,
        tasks: asyncio.TaskGroup,
        emit: Callable[[Op], None],
    ) -> None:
        self._plan, self._driver, self._tasks, self._emit = plan, driver, tasks, emit
        self._overheard = count()
        self._clients = {t.name: Client(t, driver, plan, tasks) for t in plan.tenants}
        self._players: dict[str, asyncio.Task[None]] = {}
        self._watch = Watch()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._ticker = tasks.create_task(self._tick())

    async def connect(self) -> Connected:
        """Open the session of every tenant that has none; a failure is told, not retried."""
        some = asyncio.Semaphore(CONNECTING_MAX)

        async def opened(client: Client) -> str:
            async with some:
                why = "" if client.connected else await client.open()
                return f"{client.tenant.name}: {why}" if why else ""

        told = await asyncio.gather(*(opened(client) for client in self._clients.values()))
        failed = tuple(why for why in told if why)
        return Connected(len(told) - len(failed), failed)

    async def play(self, phase: PhasePlan) -> None:
        """Build the schedule and start it at its time, in the background."""
        if phase.name in self._players:
            raise LabError(f"phase {phase.name} is played twice, so ids would not be unique")
        tally = self._watch.tallies[phase.name] = Tally()
        running: list[_Running] = []
        arrivals: list[Iterator[Arrival]] = []
        remaining = lanes(self._plan.seed, phase, self._plan.tenants)
        while some := tuple(islice(remaining, LANES_A_TURN)):
            for lane in some:
                arrivals.append(numbered(len(running), lane.arrivals()))
                running.append(self._running(lane, tally))
            await asyncio.sleep(0)
        played = self._played(phase, running, merged(arrivals), tally)
        self._players[phase.name] = self._tasks.create_task(played)

    async def cut(self, phase: str) -> None:
        """Start nothing further of the phase; what is in flight goes on."""
        player = self._players.get(phase)
        if player is not None and player.cancel():
            await asyncio.wait((player,))

    async def finish(self, drain_seconds: float) -> Health:
        """Start nothing further, wait for answers, censor the rest, close all sessions."""
        for phase in self._players:
            await self.cut(phase)
        await self._drained(drain_seconds)
        while self._in_flight:
            for client in self._clients.values():
                client.censor()
            await self._drained(CENSOR_SECONDS)
        some = asyncio.Semaphore(CONNECTING_MAX)

        async def closed(client: Client) -> None:
            async with some:
                await client.close()

        await asyncio.gather(*(closed(client) for client in self._clients.values()))
        self._ticker.cancel()
        self._tell_overheard()
        return self._watch.health()

    async def _drained(self, seconds: float) -> None:
        """Wait until nothing is in flight, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def _running(self, lane: Lane, tally: Tally) -> _Running:
        client, workload = self._clients[lane.tenant.name], lane.workload
        limits = (workload.in_flight_max, workload.deadline_seconds)
        return _Running(lane, client, tally, lane.steps(), lane.prefix, *limits)

    async def _played(
        self,
        phase: PhasePlan,
        running: list[_Running],
        arrivals: Iterator[Arrival],
        tally: Tally,
    ) -> None:
        """One phase, from its start to its end or until it is cut."""
        pace = pacer()
        try:
            await pace.until(phase.start_ns)
            tally.begin()
            for since_ns, at, number in arrivals:
                due_ns = phase.start_ns + since_ns
                await pace.until(due_ns)
                self._start(running[at], number, due_ns)
            await pace.until(phase.start_ns + round(phase.seconds * 1e9))
        finally:
            tally.end()
            pace.close()

    def _start(self, running: _Running, number: int, due_ns: int) -> None:
        """Start an action without waiting for it, or drop it when too many are unfinished."""
        step, op = running.lane.next_step(running.steps), f"{running.prefix}{number}"
        if running.in_flight >= running.in_flight_max:
            dropped = Landing(running.client.serial, 0, Outcome.FAIL, DROPPED, "")
            self._record(running, op, step, due_ns, dropped)
            return
        running.in_flight += 1
        self._in_flight += 1
        self._idle.clear()
        self._tasks.create_task(self._perform(running, op, step, due_ns))

    async def _perform(self, running: _Running, op: str, step: Step, due_ns: int) -> None:
        try:
            landing = await running.client.perform(
                step, op=op, deadline_seconds=running.deadline_seconds
            )
        finally:
            running.in_flight -= 1
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        self._record(running, op, step, due_ns, landing)

    def _record(
        self, running: _Running, op: str, step: Step, due_ns: int, landing: Landing
    ) -> None:
        epoch_ns, tenant = self._plan.epoch_ns, running.lane.tenant
        ended = Op(
            id=op,
            tenant=tenant.name,
            cohort=tenant.cohort,
            session=landing.session,
            action=name_of(step),
            phase=running.lane.phase.name,
            due_ns=due_ns - epoch_ns,
            sent_ns=landing.sent_ns and landing.sent_ns - epoch_ns,
            done_ns=monotonic_ns() - epoch_ns,
            outcome=landing.outcome,
            error=landing.error,
            sent=sent_by(step),
            received=landing.received,
        )
        running.tally.count(ended)
        self._emit(ended)

    def _tell_overheard(self) -> None:
        """What tenants received beside their replies, as operations of no phase and no cohort."""
        now_ns = monotonic_ns() - self._plan.epoch_ns
        for client in self._clients.values():
            for text in client.overheard():
                name = client.tenant.name
                op = f"{OVERHEARD}/{name}/{next(self._overheard)}"
                times = (now_ns, now_ns, now_ns)
                heard = Op(op, name, "", client.serial, OVERHEARD, "", *times, Outcome.OK)
                self._emit(msgspec.structs.replace(heard, received=text))

    async def _tick(self) -> None:
        """Every 50 ms: note by how much the loop stood still, end what is beyond its deadline."""
        due_ns = monotonic_ns() + TICK_NS
        while True:
            await asyncio.sleep((due_ns - monotonic_ns()) / 1e9)
            now_ns = monotonic_ns()
            self._watch.stalled(max(0, now_ns - due_ns))
            for client in self._clients.values():
                client.expire(now_ns)
            self._tell_overheard()
            due_ns = now_ns + TICK_NS
