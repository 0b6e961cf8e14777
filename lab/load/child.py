"""A worker's process, as the lab sees it: an answer a command, in order, operations between."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import TypeVar

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    IncompleteRead,
    create_memory_object_stream,
    move_on_after,
    open_process,
)
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream

from lab.errors import LabError
from lab.history import Op
from lab.load.wire import (
    HEADER,
    Batch,
    Failed,
    Message,
    Report,
    unpack,
)
from lab.procfs import started_ticks

END_SECONDS = 3.0
"""A worker whose stdin is closed gets this long to drain and end before it is killed."""

WHERE = "lab.load.worker"

A = TypeVar("A", bound=Message)
OnOps = Callable[[Sequence[Op]], None]


class Child:
    """A child process, as the lab sees it: an answer a command, in order, operations between."""

    def __init__(self, process: Process, on_ops: OnOps) -> None:
        self._process, self._on_ops = process, on_ops
        self._complaints: deque[str] = deque(maxlen=20)
        self._complained = Event()
        self._asked = self._answered = 0
        self._answer, self._answers = create_memory_object_stream[tuple[int, Message]](inf)
        self._frames = BufferedByteReceiveStream(_there(process.stdout))
        self._size = 0
        self._finished = False
        self.failure: LabError | None = None
        self.pid = process.pid
        self.name = f"{process.pid}:{_start_ticks(process.pid)}"

    async def tell(self, body: bytes) -> int:
        """Send a command; its number."""
        self._asked += 1
        with suppress(BrokenResourceError, ClosedResourceError, OSError):
            # A worker that is gone makes `listen` fail, which tells more than a broken pipe.
            assert self._process.stdin is not None
            await self._process.stdin.send(body)
        return self._asked

    async def answer(self, number: int, kind: type[A]) -> A:
        """Wait for the answer to the command of this number."""
        answered, message = await self._answers.receive()
        while answered < number:  # the answer to a command whose caller was cancelled
            answered, message = await self._answers.receive()
        if not isinstance(message, kind):
            raise LabError(f"the load generator answered {message!r}", where=WHERE)
        return message

    async def listen(self) -> None:
        """Pass on operations and answers until the worker hangs up. LabError when it died."""
        try:
            while True:
                self._take(await self._next())
        except (IncompleteRead, EndOfStream, BrokenResourceError):
            if not self._finished:
                self.failure = await self._died()
                raise self.failure from None

    async def _next(self) -> Message:
        """The next message; whoever is cancelled in the middle of one leaves it whole."""
        if not self._size:
            (self._size,) = HEADER.unpack(await self._frames.receive_exactly(HEADER.size))
        body = await self._frames.receive_exactly(self._size)
        self._size = 0
        return unpack(body)

    def _take(self, message: Message) -> None:
        match message:
            case Batch(ops):
                self._on_ops(ops)
            case Failed(what, where, mend):
                self.failure = LabError(what, where=where, mend=mend)
                raise self.failure
            case _:
                self._finished = isinstance(message, Report)
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
        """Close its stdin, which ends it, and take what it still tells; kill it when it hangs."""
        assert self._process.stdin is not None
        with suppress(BrokenResourceError, OSError):
            await self._process.stdin.aclose()
        with move_on_after(END_SECONDS):
            await self._rest()
            await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.aclose()
        self._answer.close()
        self._answers.close()

    async def _rest(self) -> None:
        """Pass on the operations that end while the worker drains; why it ended is known."""
        with suppress(IncompleteRead, EndOfStream, BrokenResourceError, ClosedResourceError):
            while True:
                if isinstance(message := await self._next(), Batch):
                    self._on_ops(message.ops)


async def started() -> Process:
    """A worker's process: it finds every module that this process finds, behaviours included."""
    paths = [path or os.getcwd() for path in sys.path]
    command = [sys.executable, "-P", "-m", WHERE, str(os.getpid())]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        # A session of its own: a signal to the terminal's foreground processes is the lab's to
        # handle.
        return await open_process(command, env=env, start_new_session=True)
    except OSError as error:
        raise LabError(f"the load generator does not start: {error}", where=WHERE) from error


def _start_ticks(pid: int) -> int:
    """0 where it has ended already, and without /proc."""
    with suppress(ProcessLookupError):
        return started_ticks(pid)
    return 0


def _there(stream: ByteReceiveStream | None) -> ByteReceiveStream:
    assert stream is not None  # the process was opened with pipes
    return stream
