"""One tenant's client: its session, what is in flight on it, and how it comes back when it breaks.

Plain asyncio on purpose: tasks, futures and timers are the hot path of the load engine.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from itertools import count
from time import monotonic_ns
from typing import NamedTuple

from lab.actions import Abandon, Action, Step
from lab.history import Outcome
from lab.load.outcome import (
    ABANDONED,
    NOT_CONNECTED,
    RESET,
    bounded,
    classify,
)
from lab.load.wire import GeneratorPlan
from lab.seeds import stream
from lab.system import Driver, Reply, Session, Tenant

CONNECT_SECONDS = 10.0
REOPEN_SECONDS = 2.0
"""Shorter: an attempt begun in a partition must not outlast it and look like slow recovery."""
CLOSE_SECONDS = 5.0
BACKOFF_SECONDS = (0.05, 1.0)
"""First and longest wait before a session is opened again; doubled in between, halved at random."""
GRACE_SECONDS = 0.5
"""A driver keeps its deadline itself; past this much more, the engine ends the operation."""


class Landing(NamedTuple):
    """How one step went: the session's serial, when it was sent (0: never), and what came of it."""

    session: int
    sent_ns: int
    outcome: Outcome
    error: str
    received: str


class _Abandoned(Exception):  # noqa: N818 - no error, but the step's own intent
    """The time after which the step drops its connection has come."""


class Flight:
    """A step that is under way. `why` is set when the engine, and nobody else, ends it."""

    __slots__ = ("expires_ns", "session", "task", "why")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.session: Session | None = None
        self.expires_ns = sys.maxsize
        self.why = ""

    def end(self, why: str) -> None:
        """End it with this error; the first reason counts."""
        if not self.why and self.task is not None:
            self.why = why
            self.task.cancel()


class Client:
    """Performs steps for one tenant, several at once, on one session at a time.

    tasks: where reconnecting runs; an exception in it is a bug of the driver and ends the run.
    flights: what is under way for all tenants; the engine ends what has to end.
    """

    __slots__ = (
        "_absent",
        "_driver",
        "_driver_file",
        "_flights",
        "_heard",
        "_reopening",
        "_seed",
        "_session",
        "_tasks",
        "serial",
        "tenant",
    )

    def __init__(
        self,
        tenant: Tenant,
        driver: Driver,
        plan: GeneratorPlan,
        tasks: asyncio.TaskGroup,
        flights: set[Flight],
    ) -> None:
        self.tenant, self._driver, self._driver_file = tenant, driver, plan.driver
        self._tasks, self._seed, self._flights = tasks, plan.seed, flights
        self._session: Session | None = None
        self.serial = 0
        self._absent = NOT_CONNECTED  # why there is no session, when there is none
        self._heard: list[str] = []
        self._reopening: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the tenant has a session, as far as anybody knows."""
        return self._session is not None

    async def open(self, seconds: float = CONNECT_SECONDS) -> str:
        """Open a session within `seconds`; empty when there is one now, else why not."""
        try:
            async with asyncio.timeout(seconds):
                self._session = await self._driver.connect(self.tenant)
        except Exception as error:  # noqa: BLE001 - classify raises the rest
            _, why = classify(error, self._driver_file)
            return f"{why} {error}".strip() if why == RESET else why
        self.serial += 1
        return ""

    async def perform(
        self, flight: Flight, step: Step, op: str, deadline_seconds: float
    ) -> Landing:
        """Do one step now. Raises LabError when the driver does what no driver may do."""
        session, serial = self._session, self.serial
        if session is None:
            self._reopen()
            return Landing(serial, 0, Outcome.FAIL, self._absent, "")
        sent_ns = monotonic_ns()
        flight.session = session
        flight.expires_ns = sent_ns + int((deadline_seconds + GRACE_SECONDS) * 1e9)
        received = ""
        try:
            reply = await _performing(session, step, op, deadline_seconds)
            outcome, error, received = Outcome.OK, "", bounded(reply.raw)
        except asyncio.CancelledError:
            if not flight.why:
                raise
            outcome, error = Outcome.INFO, flight.why
        except _Abandoned:
            outcome, error = Outcome.INFO, flight.why or ABANDONED
        except Exception as problem:  # noqa: BLE001 - classify raises the rest
            outcome, error = classify(problem, self._driver_file)
            if flight.why:
                outcome, error = Outcome.INFO, flight.why
        if error in (RESET, ABANDONED):
            flight.session = None  # this one is over: what else was on it is ended
            self._lost(serial, error)
        return Landing(serial, sent_ns, outcome, error, received)

    def overheard(self) -> list[str]:
        """Take what was received since the last call and is in no operation's reply."""
        if self._session is not None:
            self._heard.extend(self._session.overheard())
        heard, self._heard = self._heard, []
        return [bounded(text) for text in heard]

    async def close(self) -> None:
        """Close the session in good manners, or drop it when it does not answer."""
        if self._reopening is not None:
            self._reopening.cancel()
        session, self._session = self._session, None
        if session is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await session.close()
        except Exception as error:  # noqa: BLE001 - classify raises the rest
            classify(error, self._driver_file)
            session.abort()
        self._heard.extend(session.overheard())

    def _lost(self, serial: int, why: str) -> None:
        """The session `serial` is broken: drop it, end what else was on it, open the next.

        What the lab's own hang-up takes along, and what is due before the next session, is
        `abandoned` as well: the system is not to blame, unless it then refuses to connect.
        """
        if self._session is None or serial != self.serial:
            return
        session, self._session = self._session, None
        session.abort()
        self._heard.extend(session.overheard())
        for flight in self._flights:
            if flight.session is session:
                flight.end(why)
        self._absent = ABANDONED if why == ABANDONED else NOT_CONNECTED
        self._reopen()

    def _reopen(self) -> None:
        if self._reopening is None or self._reopening.done():
            self._reopening = self._tasks.create_task(self._reopened())

    async def _reopened(self) -> None:
        first, longest = BACKOFF_SECONDS
        jitter = stream(self._seed, "reconnect", self.tenant.name, str(self.serial))
        for attempt in count():
            wait = min(longest, first * 2 ** min(attempt, 16))
            await asyncio.sleep(wait * jitter.uniform(0.5, 1.0))
            if not await self.open(REOPEN_SECONDS):
                return
            self._absent = NOT_CONNECTED


def _performing(
    session: Session, step: Step, op: str, deadline_seconds: float
) -> Coroutine[None, None, Reply]:
    if isinstance(step, Abandon):
        return _abandoning(session, step.action, step.after_ms, op, deadline_seconds)
    return session.perform(step, op=op, deadline_seconds=deadline_seconds)


async def _abandoning(
    session: Session, action: Action, after_ms: float, op: str, deadline_seconds: float
) -> Reply:
    """Perform the action, unless it is not answered within `after_ms`: then raise _Abandoned."""
    limit = asyncio.timeout(after_ms / 1e3)
    try:
        async with limit:
            return await session.perform(action, op=op, deadline_seconds=deadline_seconds)
    except TimeoutError:
        if not limit.expired():
            raise
        raise _Abandoned from None
