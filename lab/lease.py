"""The lab's end of the lease: beats while the lab is alive, and ends it without a healer."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from anyio import create_task_group, fail_after, sleep, to_thread
from anyio.abc import TaskGroup

from lab.errors import LabError

LOCK_NAME = "lab.lock"
LOG_NAME = "healer.log"
BEAT_SECONDS = 0.5
START_SECONDS = 10.0
BEAT, RELEASED, READY = b".", b"R", b"ready\n"


class Lease:
    """`async with Lease(run, folder):` - the run's lock, and a healer that watches over the body.

    run: whose labels the healer removes; folder: the run's own; ttl_seconds: how long the lab
    may be frozen. Raises LabError when another lab has the folder, or when the healer does
    not start; the body is cancelled and LabError raised when the healer dies.
    """

    def __init__(self, run: str, folder: Path, ttl_seconds: float = 10.0) -> None:
        self._run, self._folder, self._ttl_seconds = run, folder, ttl_seconds
        self._lock: IO[bytes]
        self._healer: subprocess.Popen[bytes]
        self._beats: TaskGroup

    @property
    def pid(self) -> int:
        """The healer's process."""
        return self._healer.pid

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._folder / LOCK_NAME).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise LabError("another lab is at work here", where=str(self._folder)) from error
        self._healer = self._spawned()
        try:
            with fail_after(START_SECONDS):
                said = await to_thread.run_sync(self._first_line, abandon_on_cancel=True)
        except BaseException:
            self._release()
            raise
        if said != READY:
            self._release()
            raise LabError("the healer did not start", where=str(self._folder / LOG_NAME))
        self._beats = create_task_group()
        await self._beats.__aenter__()
        self._beats.start_soon(self._beat)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._beats.cancel_scope.cancel()
        try:
            return await self._beats.__aexit__(kind, error, trace)
        except ExceptionGroup as group:
            raise _only(group) from None
        finally:
            self._release()

    def _spawned(self) -> subprocess.Popen[bytes]:
        words = (self._run, str(self._folder.resolve()), f"{self._ttl_seconds:g}")
        with (self._folder / LOG_NAME).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "lab.healer", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=Path(__file__).resolve().parents[1],  # where `-m` finds the package
                start_new_session=True,
                bufsize=0,
            )

    def _first_line(self) -> bytes:
        return os.read(_fd(self._healer.stdout), len(READY))

    async def _beat(self) -> None:
        """Beat until cancelled. A healer that is gone, or that has acted, ends the run."""
        while True:
            try:
                os.write(_fd(self._healer.stdin), BEAT)
            except BrokenPipeError as error:
                raise LabError(
                    "the healer is gone", where=str(self._folder / LOG_NAME), mend="run again"
                ) from error
            await sleep(BEAT_SECONDS)

    def _release(self) -> None:
        """Give the lease back: the healer ends without acting, and the lock is free."""
        with suppress(BrokenPipeError):  # it is gone already
            os.write(_fd(self._healer.stdin), RELEASED)
        for pipe in (self._healer.stdin, self._healer.stdout):
            if pipe is not None:
                pipe.close()
        self._healer.wait()
        self._lock.close()


def _fd(pipe: IO[bytes] | None) -> int:
    assert pipe is not None, "the healer is started with pipes"
    return pipe.fileno()


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What the body or the beat raised, without the group around it when it is alone."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
