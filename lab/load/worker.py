"""The load generator's process: `python -m lab.load.worker PARENT`, started by lab.load.generator.

Takes commands on stdin, tells operations and answers on stdout (lab/load/wire.py), complains on
stderr. It never outlives the lab: when its stdin ends it drains for a second and goes, and the
kernel kills it with its parent.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import pickle
import resource
import signal
import sys
from contextlib import suppress
from typing import NoReturn, TypeVar, cast

import anyio

from lab.errors import LabError
from lab.history import Op
from lab.load.engine import Engine
from lab.load.wire import (
    HEADER,
    Batch,
    Command,
    Connect,
    Cut,
    Done,
    Failed,
    Finish,
    GeneratorPlan,
    Message,
    Play,
    pack,
)
from lab.stack.file import load_driver
from lab.system import Driver

FLUSH_SECONDS = 0.1
FLUSH_OPS = 500
NICENESS = -10
CLOSE_SECONDS = 5.0
LEAVE_SECONDS = 1.0
"""What is in flight gets this long when the lab leaves in the middle of a run."""

T = TypeVar("T")


class Up(asyncio.Protocol):
    """The way up to the lab. Writing never waits: what the lab has not read yet is kept here."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._ops: list[Op] = []
        self._closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe is there."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The pipe is closed: by us when all is told, else by a lab that is gone."""
        if exc is not None or not self._closing:
            _leave()
        self._closed.set_result(None)

    @property
    def _closing(self) -> bool:
        return self._transport is not None and self._transport.is_closing()

    def add(self, op: Op) -> None:
        """Tell an operation, with the next batch."""
        self._ops.append(op)
        if len(self._ops) >= FLUSH_OPS:
            self.flush()

    def tell(self, message: Message) -> None:
        """Tell a message, after all operations that ended before it."""
        self.flush()
        self._write(message)

    def flush(self) -> None:
        """Tell the operations that ended since the last time."""
        if self._ops:
            self._write(Batch(tuple(self._ops)))
            self._ops.clear()

    async def flushing(self) -> None:
        """Flush often enough for the judge to look on, without end."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.flush()

    async def close(self) -> None:
        """Wait until everything told has been read, and hang up."""
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def _write(self, message: Message) -> None:
        if self._transport is not None:
            self._transport.write(pack(message))


async def receive(orders: asyncio.StreamReader, kind: type[T]) -> T:
    """The next frame from the lab. Raises EOFError when there will be none."""
    (size,) = HEADER.unpack(await orders.readexactly(HEADER.size))
    body = await orders.readexactly(size)
    # From our own parent, over a pipe that nobody else has.
    return cast(T, pickle.loads(body))


async def serve(stdin: int, stdout: int) -> int:
    """Do what the lab says until it says Finish; the process's exit code."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), os.fdopen(stdin, "rb")
    )
    _, up = await loop.connect_write_pipe(Up, os.fdopen(stdout, "wb"))
    code = 0
    try:
        await _generate(orders, up)
    except* LabError as group:
        error = _first(group)
        up.tell(Failed(error.what, error.where, error.mend))
        code = error.exit_code
    await up.close()
    return code


async def _generate(orders: asyncio.StreamReader, up: Up) -> None:
    """Everything from the plan to the health."""
    try:
        plan = await receive(orders, GeneratorPlan)
    except EOFError:
        _leave()
    driver = load_driver(plan.driver)(plan.site)
    commands: asyncio.Queue[Command] = asyncio.Queue()

    async def listen() -> None:
        with suppress(EOFError):
            while True:
                commands.put_nowait(cast(Command, await receive(orders, object)))
        # No further orders, and nobody said Finish: the lab was interrupted, or failed.
        commands.put_nowait(Finish(LEAVE_SECONDS))

    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(up.flushing()), tasks.create_task(listen())]
        engine = Engine(plan, driver, tasks, up.add)
        up.tell(Done())
        finished = False
        while not finished:
            command = await commands.get()
            up.tell(await obey(command, engine))
            finished = isinstance(command, Finish)
        await _close(driver)
        for task in background:
            task.cancel()


async def obey(command: Command, engine: Engine) -> Message:
    """Do one command; its answer."""
    match command:
        case Connect():
            connected = await engine.connect()
            _settle_garbage()
            return connected
        case Play(phase):
            await engine.play(phase)
        case Cut(phase):
            await engine.cut(phase)
        case Finish(drain_seconds):
            return await engine.finish(drain_seconds)
    return Done()


async def _close(driver: Driver) -> None:
    # All is told by now: a driver that cannot let go in time ends with the process.
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await driver.close()


def _first(group: BaseExceptionGroup[LabError]) -> LabError:
    """The first error in the group, however deep."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _settle_garbage() -> None:
    """Keep the collector away from what stays for the whole run, and make it come less often.

    A full collection over 1,000 sessions takes tens of milliseconds, which would look like latency.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        _leave()


def _raise_file_limit() -> None:
    """A socket for every tenant: as many descriptors as the machine allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _go_first() -> None:
    """Where the machine allows it, run before those whom the load measures.

    An instrument that waits for the processor measures its own waiting. Without the right to it
    nothing is lost but precision: lateness is recorded, and too much of it makes a run UNKNOWN.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def _leave() -> NoReturn:
    """The lab is gone: so is everybody who could want anything from us."""
    os._exit(1)


def main(parent: int) -> int:
    """Set the process up and serve."""
    _die_with(parent)
    for each in (signal.SIGINT, signal.SIGTERM):  # the lab drains us when somebody interrupts it
        signal.signal(each, signal.SIG_IGN)
    _raise_file_limit()
    _go_first()
    stdin, stdout = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a driver that prints must not end up between the frames
    return anyio.run(serve, stdin, stdout, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
