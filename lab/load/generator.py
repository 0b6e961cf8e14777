"""The lab's side of the load generator: starts its process, orders, passes on what it saw.

Load comes from a process of its own, because a live view or a judge beside it would make it late.
One worker serves a machine; streams are drawn by tenant, so more workers would only mean to divide
the plan's tenants among them and to merge their health.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from math import ceil, inf
from pathlib import Path
from typing import TypeGuard, TypeVar

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    IncompleteRead,
    Lock,
    create_memory_object_stream,
    create_task_group,
    fail_after,
    move_on_after,
    open_process,
)
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream

from lab.errors import LabError
from lab.history import Op
from lab.journal import Created, Journal
from lab.load.client import CLOSE_SECONDS, CONNECT_SECONDS
from lab.load.engine import CONNECTING_MAX
from lab.load.wire import (
    HEADER,
    Batch,
    Command,
    Connect,
    Connected,
    Cut,
    Done,
    Failed,
    Finish,
    GeneratorPlan,
    Health,
    Message,
    PhasePlan,
    Play,
    order,
    unpack,
)

START_SECONDS = 20.0
ANSWER_SECONDS = 10.0
"""How long a living worker may take to answer, beyond the time that the command itself needs."""
END_SECONDS = 2.0
"""A worker whose stdin is closed gets this long to end before it is killed."""

WHERE = "lab.load.worker"

A = TypeVar("A", bound=Message)
OnOps = Callable[[Sequence[Op]], None]


@asynccontextmanager
async def generating(
    plan: GeneratorPlan, *, on_ops: OnOps, journal: Journal | None = None
) -> AsyncGenerator[Generator]:
    """A load generator for the plan, alive until the block is left.

    on_ops gets the operations as they end, at least every 0.1 s. journal gets the worker's
    process, for the healer. Raises LabError, also out of the middle of the block, when the worker
    dies or the driver has a bug.
    """
    first = order(plan)
    worker = _Worker(await _started(), on_ops)
    try:
        if journal is not None:
            journal.append(Created(kind="process", name=worker.name), durable=True)
        async with create_task_group() as tasks:
            tasks.start_soon(worker.hear_complaints)
            tasks.start_soon(worker.listen)
            await worker.ask(first, Done, START_SECONDS, "start")
            yield Generator(plan, worker)
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise worker.failure or _sole(group) from None
    finally:
        with CancelScope(shield=True):
            await worker.end()


class Generator:
    """Gives the orders. Every method raises LabError when the worker does not answer in time."""

    def __init__(self, plan: GeneratorPlan, worker: _Worker) -> None:
        self._plan, self._worker = plan, worker
        self._turns = ceil(len(plan.tenants) / CONNECTING_MAX)

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._worker.pid

    async def connect(self) -> Connected:
        """Open every tenant's session, at most 50 at a time; the result says who failed, why."""
        seconds = self._turns * CONNECT_SECONDS + ANSWER_SECONDS
        return await self._ask(Connect(), Connected, seconds, "connect the tenants")

    async def play(self, phase: PhasePlan) -> None:
        """Have a phase played at its time; returns as soon as its schedule stands.

        Raises LabError for a workload without tenants, or with a behaviour that cannot travel.
        """
        cohorts = {tenant.cohort for tenant in self._plan.tenants}
        for workload in phase.workloads:
            if workload.cohort not in cohorts:
                raise LabError(f"phase {phase.name}: cohort {workload.cohort} has no tenants")
        await self._ask(Play(phase), Done, ANSWER_SECONDS, f"take phase {phase.name}")

    async def cut(self, phase: str) -> None:
        """End a phase now: nothing further of it is started; what is in flight goes on."""
        await self._ask(Cut(phase), Done, ANSWER_SECONDS, f"cut phase {phase}")

    async def finish(self, *, drain_seconds: float) -> Health:
        """End all phases, wait up to `drain_seconds` for answers, censor the rest, hang up.

        When it returns, every operation has been passed on. Nothing can be asked afterwards.
        """
        seconds = drain_seconds + self._turns * CLOSE_SECONDS + ANSWER_SECONDS
        return await self._ask(Finish(drain_seconds), Health, seconds, "finish")

    async def _ask(self, command: Command, kind: type[A], seconds: float, what: str) -> A:
        return await self._worker.ask(order(command), kind, seconds, what)


class _Worker:
    """The child process, as the lab sees it: an answer a command, in order, operations between."""

    def __init__(self, process: Process, on_ops: OnOps) -> None:
        self._process, self._on_ops = process, on_ops
        self._complaints: deque[str] = deque(maxlen=20)
        self._complained = Event()
        self._asked = self._answered = 0
        self._turn = Lock()
        self._answer, self._answers = create_memory_object_stream[tuple[int, Message]](inf)
        self._finished = False
        self.failure: LabError | None = None
        self.pid = process.pid
        self.name = f"{process.pid}:{_start_ticks(process.pid)}"

    async def ask(self, body: bytes, kind: type[A], seconds: float, what: str) -> A:
        """Send a command and wait for its answer."""
        async with self._turn:
            self._asked += 1
            mine = self._asked
            with suppress(BrokenResourceError, ClosedResourceError, OSError):
                # A worker that is gone makes `listen` fail, which tells more than a broken pipe.
                assert self._process.stdin is not None
                await self._process.stdin.send(body)
            try:
                with fail_after(seconds):
                    number, message = await self._answers.receive()
                    while number < mine:  # the answer to a command whose caller was cancelled
                        number, message = await self._answers.receive()
            except TimeoutError:
                why = f"the load generator did not {what} within {seconds:g} s"
                raise LabError(why, where=WHERE) from None
        if not isinstance(message, kind):
            raise LabError(f"the load generator answered {message!r}", where=WHERE)
        return message

    async def listen(self) -> None:
        """Pass on operations and answers until the worker hangs up. LabError when it died."""
        frames = BufferedByteReceiveStream(_there(self._process.stdout))
        try:
            while True:
                (size,) = HEADER.unpack(await frames.receive_exactly(HEADER.size))
                self._take(unpack(await frames.receive_exactly(size)))
        except (IncompleteRead, EndOfStream, BrokenResourceError):
            if not self._finished:
                self.failure = await self._died()
                raise self.failure from None

    def _take(self, message: Message) -> None:
        match message:
            case Batch(ops):
                self._on_ops(ops)
            case Failed(what, where, mend):
                self.failure = LabError(what, where=where, mend=mend)
                raise self.failure
            case _:
                self._finished = isinstance(message, Health)
                self._answered += 1
                self._answer.send_nowait((self._answered, message))

    async def hear_complaints(self) -> None:
        """Keep the last lines of its stderr."""
        rest = ""
        text = TextReceiveStream(_there(self._process.stderr), errors="replace")
        async for chunk in text:
            *lines, rest = (rest + chunk).split("\n")
            self._complain(*lines)
        self._complain(rest)
        self._complained.set()

    def _complain(self, *lines: str) -> None:
        # Without the frame that Python draws around the traceback of a group of exceptions.
        bare = (line.strip(" |+-") for line in lines)
        self._complaints.extend(line for line in bare if line)

    async def _died(self) -> LabError:
        """Why it died, in its own last words."""
        with move_on_after(END_SECONDS):
            await self._process.wait()
            await self._complained.wait()
        code = self._process.returncode
        how = "hung up" if code is None else f"ended with {code}"
        words = self._complaints[-1] if self._complaints else "no last words"
        return LabError(f"the load generator {how}: {words}", where=WHERE)

    async def end(self) -> None:
        """Close its stdin, which ends it; kill it when it does not."""
        assert self._process.stdin is not None
        with suppress(BrokenResourceError, OSError):
            await self._process.stdin.aclose()
        with move_on_after(END_SECONDS):
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.aclose()
        self._answer.close()
        self._answers.close()


async def _started() -> Process:
    """The child: it finds every module that this process finds, behaviours included."""
    paths = [path or os.getcwd() for path in sys.path]
    command = [sys.executable, "-P", "-m", WHERE, str(os.getpid())]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        # A session of its own: a signal to the terminal's foreground processes is the lab's to
        # handle.
        return await open_process(command, env=env, start_new_session=True)
    except OSError as error:
        raise LabError(f"the load generator does not start: {error}", where=WHERE) from error


def _start_ticks(pid: int) -> str:
    """Field 22 of proc(5) `stat`: with the pid, it names one process. `0` without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "0"
    return stat.rsplit(")", 1)[1].split()[19]


def _there(stream: ByteReceiveStream | None) -> ByteReceiveStream:
    assert stream is not None  # the process was opened with pipes
    return stream


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception inside, if there is only one: a person gets the error unwrapped."""
    if len(group.exceptions) > 1:
        return group
    inner = next(iter(group.exceptions))
    return _sole(inner) if _is_group(inner) else inner


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)
