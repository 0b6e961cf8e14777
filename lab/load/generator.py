"""The lab's side of the load generator: starts its process, orders, passes on what it saw.

Load comes from a process of its own, because a live view or a judge beside it would make it late;
from several, when one cannot serve all tenants. Streams are drawn by tenant, so every worker plays
its own tenants' part of one and the same schedule.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from math import ceil
from typing import TypeGuard

from anyio import (
    CancelScope,
    Lock,
    create_task_group,
    fail_after,
)

from lab.errors import LabError, UsageError
from lab.journal import Created, Journal
from lab.load.child import WHERE, A, Child, OnOps, started
from lab.load.client import CLOSE_SECONDS, CONNECT_SECONDS
from lab.load.engine import CONNECTING_MAX
from lab.load.health import Health, merged
from lab.load.wire import (
    Command,
    Connect,
    Connected,
    Cut,
    Done,
    Finish,
    GeneratorPlan,
    PhasePlan,
    Play,
    Report,
    order,
)

START_SECONDS = 20.0
ANSWER_SECONDS = 10.0
"""How long a living worker may take to answer, beyond the time that the command itself needs."""
TENANTS_A_WORKER = 2_500
WORKERS_VARIABLE, WORKERS_MAX = "LAB_WORKERS", 64


@asynccontextmanager
async def generating(
    plan: GeneratorPlan, *, on_ops: OnOps, journal: Journal | None = None, workers: int = 0
) -> AsyncGenerator[Generator]:
    """A load generator for the plan, alive until the block is left.

    on_ops gets the operations as they end, at least every 0.1 s. journal gets the workers'
    processes, for the healer. workers: how many processes share the tenants; 0 is as many as
    LAB_WORKERS says or the tenants need. The schedule is the same with any number. Whoever leaves
    the block early gets what is in flight within a second. Raises LabError, also out of the middle
    of the block, when a worker dies or the driver has a bug.
    """
    count = workers or workers_asked_for() or enough_for(len(plan.tenants))
    orders = [order(replace(plan, worker=k, workers=count)) for k in range(count)]
    team: list[Child] = []
    try:
        for _ in orders:
            team.append(Child(await started(), on_ops))
            if journal is not None:
                journal.append(Created(kind="process", name=team[-1].name), durable=True)
        async with create_task_group() as tasks:
            for worker in team:
                tasks.start_soon(worker.hear_complaints)
                tasks.start_soon(worker.listen)
            generator = Generator(plan, team)
            await generator.start(orders)
            yield generator
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise next((w.failure for w in team if w.failure), None) or _sole(group) from None
    finally:
        with CancelScope(shield=True):
            async with create_task_group() as ending:
                for worker in team:
                    ending.start_soon(worker.end)


def enough_for(tenants: int) -> int:
    """How many workers so many tenants need: one for each 2,500, on at most half of the cores.

    The other half is the system's: a generator that takes it measures its own greed.
    """
    return max(1, min(ceil(tenants / TENANTS_A_WORKER), (os.cpu_count() or 1) // 2))


def workers_asked_for() -> int:
    """LAB_WORKERS, 0 without it. Raises UsageError for what is no number from 0 to 64."""
    text = os.environ.get(WORKERS_VARIABLE, "") or "0"
    if not text.isdecimal() or int(text) > WORKERS_MAX:
        mend = f"a number up to {WORKERS_MAX}; 0 or nothing is as many as the tenants need"
        raise UsageError(f"there cannot be {text} workers", where=WORKERS_VARIABLE, mend=mend)
    return int(text)


class Generator:
    """Gives the orders. Every method raises LabError when a worker does not answer in time."""

    def __init__(self, plan: GeneratorPlan, team: Sequence[Child]) -> None:
        self._plan, self._team = plan, team
        self._turns = ceil(len(plan.tenants) / len(team) / CONNECTING_MAX)
        self._one_at_a_time = Lock()

    @property
    def pid(self) -> int:
        """The first worker's process."""
        return self._team[0].pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers' processes."""
        return tuple(worker.pid for worker in self._team)

    async def start(self, orders: Sequence[bytes]) -> None:
        """Give each worker its plan."""
        await self._ask(orders, Done, START_SECONDS, "start")

    async def connect(self) -> Connected:
        """Open every tenant's session, at most 50 at a time; the result says who failed, why."""
        seconds = self._turns * CONNECT_SECONDS + ANSWER_SECONDS
        told = await self._ask_all(Connect(), Connected, seconds, "connect the tenants")
        failed = tuple(why for one in told for why in one.failed)
        return Connected(sum(one.count for one in told), failed)

    async def play(self, phase: PhasePlan) -> None:
        """Have a phase played at its time; returns as soon as its schedule stands.

        Raises LabError for a workload without tenants, or with a behaviour that cannot travel.
        """
        cohorts = {tenant.cohort for tenant in self._plan.tenants}
        for workload in phase.workloads:
            if workload.cohort not in cohorts:
                raise LabError(f"phase {phase.name}: cohort {workload.cohort} has no tenants")
        await self._ask_all(Play(phase), Done, ANSWER_SECONDS, f"take phase {phase.name}")

    async def cut(self, phase: str) -> None:
        """End a phase now: nothing further of it is started; what is in flight goes on."""
        await self._ask_all(Cut(phase), Done, ANSWER_SECONDS, f"cut phase {phase}")

    async def finish(self, *, drain_seconds: float) -> Health:
        """End all phases, wait up to `drain_seconds` for answers, censor the rest, hang up.

        When it returns, every operation has been passed on. Nothing can be asked afterwards.
        """
        seconds = drain_seconds + self._turns * CLOSE_SECONDS + ANSWER_SECONDS
        return merged(await self._ask_all(Finish(drain_seconds), Report, seconds, "finish"))

    async def _ask_all(self, command: Command, kind: type[A], seconds: float, what: str) -> list[A]:
        return await self._ask([order(command)] * len(self._team), kind, seconds, what)

    async def _ask(
        self, bodies: Sequence[bytes], kind: type[A], seconds: float, what: str
    ) -> list[A]:
        """Give every worker its command, then collect the answers: they work at the same time."""
        async with self._one_at_a_time:
            try:
                with fail_after(seconds):
                    pairs = zip(self._team, bodies, strict=True)
                    turns = [(worker, await worker.tell(body)) for worker, body in pairs]
                    return [await worker.answer(number, kind) for worker, number in turns]
            except TimeoutError:
                why = f"the load generator did not {what} within {seconds:g} s"
                raise LabError(why, where=WHERE) from None


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception inside, if there is only one: a person gets the error unwrapped."""
    if len(group.exceptions) > 1:
        return group
    inner = next(iter(group.exceptions))
    return _sole(inner) if _is_group(inner) else inner


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)
