"""The load engine of one worker: starts every action at its due time and records what came of it.

Open loop. An action waits for nobody: not for earlier answers (too many unfinished ones and it is
dropped, on record), not for a session (without one it is `not connected`). Latency counts from the
due time, so a system that stands still cannot hide it from those who would have asked meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from time import monotonic_ns
from typing import NamedTuple

import msgspec

from lab.actions import Step, name_of
from lab.errors import LabError
from lab.history import OVERHEARD, Op, Outcome
from lab.load.client import Client, Flight, Landing
from lab.load.hands import Hands
from lab.load.outcome import CENSORED, DROPPED, TIMEOUT, sent_by
from lab.load.pacer import pacer, until
from lab.load.schedule import Arrival, Lane, lanes, merged, numbered
from lab.load.watch import TICK_NS, Tally, Watch
from lab.load.wire import Connected, GeneratorPlan, PhasePlan, Report
from lab.system import Driver

CONNECTING_MAX = 50
"""Sessions that are opened or closed at the same time."""
CENSOR_SECONDS = 0.1
"""How long the censored may take to unwind before they are told again."""
LANES_A_TURN = 20
"""A schedule is built in turns of this many lanes, for the phase before it may still be running."""
BURST = 16
"""Actions already due are started without a pause, but the loop gets a turn after this many."""
AHEAD, BATCH = 128, 32
"""So many actions are prepared (about 0.3 ms), or their records made, at a time. One by one, each
between two sleeps of the process, the same work takes three times the CPU, for want of caches."""
LISTENING_TICKS = 20
"""Every so many ticks each session is asked what it overheard, some of them at each tick."""


@dataclass(slots=True, eq=False)
class _Running:
    """A lane that is being played; `tally` is its phase's."""

    lane: Lane
    client: Client
    tally: Tally
    steps: Iterator[Step]
    prefix: str
    phase: str
    in_flight_max: int
    deadline_seconds: float
    in_flight: int = 0


class _Due(NamedTuple):
    """An action, ready to be started."""

    due_ns: int
    running: _Running
    op: str
    step: Step


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
        self._flights: set[Flight] = set()
        self._clients = {t.name: Client(t, driver, plan, tasks, self._flights) for t in plan.mine}
        self._players: dict[str, asyncio.Task[None]] = {}
        self._watch = Watch()
        self._ended: list[tuple[_Due, Landing, int]] = []
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # Not in the task group: whoever cancels it would cancel what is in flight.
        self._hands = Hands(self._loop, self._fly)
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._beside = [tasks.create_task(self._tick()), tasks.create_task(self._break())]

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
        plan = self._plan
        remaining = lanes(plan.seed, phase, plan.tenants, (plan.worker, plan.workers))
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

    async def finish(self, drain_seconds: float) -> Report:
        """Start nothing further, wait for answers, censor the rest, close all sessions."""
        for phase in self._players:
            await self.cut(phase)
        await self._drained(drain_seconds)
        while self._flights:
            for flight in self._flights:
                flight.end(CENSORED)
            await self._drained(CENSOR_SECONDS)
        some = asyncio.Semaphore(CONNECTING_MAX)

        async def closed(client: Client) -> None:
            async with some:
                await client.close()

        await asyncio.gather(*(closed(client) for client in self._clients.values()))
        for task in self._beside:
            task.cancel()
        self._hands.dismiss()
        self._record()
        self._tell_overheard(self._clients.values())
        return self._watch.report()

    async def _drained(self, seconds: float) -> None:
        """Wait until nothing is in flight, or the time is over."""
        if not self._flights:
            return
        self._idle.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def _running(self, lane: Lane, tally: Tally) -> _Running:
        client, workload = self._clients[lane.tenant.name], lane.workload
        return _Running(
            lane=lane,
            client=client,
            tally=tally,
            steps=lane.steps(),
            prefix=lane.prefix,
            phase=lane.phase.name,
            in_flight_max=workload.in_flight_max,
            deadline_seconds=workload.deadline_seconds,
        )

    async def _played(
        self,
        phase: PhasePlan,
        running: list[_Running],
        arrivals: Iterator[Arrival],
        tally: Tally,
    ) -> None:
        """One phase, from its start to its end or until it is cut."""
        ready = deque(self._prepared(phase, running, arrivals))

        def turn() -> int | None:
            """Start what is due; when the next is due."""
            for _ in range(BURST):
                if not ready:
                    return None
                if ready[0].due_ns > monotonic_ns():
                    return ready[0].due_ns
                self._start(ready.popleft())
                if not ready:
                    ready.extend(self._prepared(phase, running, arrivals))
            return 0

        pace = pacer()
        try:
            await until(pace, phase.start_ns)
            tally.begin()
            await pace.run(turn)
            await until(pace, phase.start_ns + round(phase.seconds * 1e9))
        finally:
            tally.end()
            pace.close()

    def _prepared(
        self, phase: PhasePlan, running: Sequence[_Running], arrivals: Iterator[Arrival]
    ) -> Iterator[_Due]:
        """The next actions of a phase, not yet due."""
        for since_ns, at, number in islice(arrivals, AHEAD):
            one = running[at]
            step = one.lane.next_step(one.steps)
            yield _Due(phase.start_ns + since_ns, one, f"{one.prefix}{number}", step)

    def _start(self, due: _Due) -> None:
        """Start an action without waiting for it, or drop it when too many are unfinished."""
        running = due.running
        if running.in_flight >= running.in_flight_max:
            self._end(due, Landing(running.client.serial, 0, Outcome.FAIL, DROPPED, ""))
            return
        running.in_flight += 1
        flight = Flight()
        self._flights.add(flight)
        self._hands.take((flight, due))

    async def _fly(self, job: tuple[Flight, _Due]) -> None:
        """One action, from its start to its end."""
        flight, due = job
        running = due.running
        flight.task = asyncio.current_task()
        try:
            landing = await running.client.perform(
                flight, due.step, due.op, running.deadline_seconds
            )
            self._end(due, landing)
        except Exception as error:  # noqa: BLE001 - it ends the run, see _break
            if not self._broken.done():
                self._broken.set_exception(error)
        finally:
            running.in_flight -= 1
            flight.task = None
            self._flights.discard(flight)
            if not self._flights:
                self._idle.set()

    async def _break(self) -> None:
        """Raise, in the task group, what the first broken action raised."""
        await self._broken

    def _end(self, due: _Due, landing: Landing) -> None:
        """An action is over."""
        self._ended.append((due, landing, monotonic_ns()))
        if len(self._ended) >= BATCH:
            self._record()

    def _record(self) -> None:
        """Tell the operations that ended since the last time."""
        epoch_ns = self._plan.epoch_ns
        for due, landing, done_ns in self._ended:
            due_ns, running, op, step = due
            session, sent_ns, outcome, error, received = landing
            tenant = running.client.tenant
            ended = Op(
                op,
                tenant.name,
                tenant.cohort,
                session,
                name_of(step),
                running.phase,
                due_ns - epoch_ns,
                sent_ns and sent_ns - epoch_ns,
                done_ns - epoch_ns,
                outcome,
                error,
                sent_by(step),
                received,
            )
            running.tally.count(ended)
            self._emit(ended)
        self._ended.clear()

    def _tell_overheard(self, clients: Iterable[Client]) -> None:
        """What tenants received beside their replies, as operations of no phase and no cohort."""
        now_ns = monotonic_ns() - self._plan.epoch_ns
        for client in clients:
            for text in client.overheard():
                name = client.tenant.name
                op = f"{OVERHEARD}/{name}/{next(self._overheard)}"
                times = (now_ns, now_ns, now_ns)
                heard = Op(op, name, "", client.serial, OVERHEARD, "", *times, Outcome.OK)
                self._emit(msgspec.structs.replace(heard, received=text))

    async def _tick(self) -> None:
        """Every 50 ms: note by how much the loop stood still, end what is beyond its deadline."""
        clients = tuple(self._clients.values())
        due_ns = monotonic_ns() + TICK_NS
        for tick in count():
            await asyncio.sleep((due_ns - monotonic_ns()) / 1e9)
            now_ns = monotonic_ns()
            self._watch.stalled(max(0, now_ns - due_ns))
            for flight in self._flights:
                if now_ns > flight.expires_ns:  # its driver forgot
                    flight.end(TIMEOUT)
            self._record()
            self._tell_overheard(clients[tick % LISTENING_TICKS :: LISTENING_TICKS])
            due_ns = now_ns + TICK_NS
