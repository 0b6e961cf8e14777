"""The lab's end of the lease: beats while the lab is alive, and ends it without a healer."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from anyio import create_task_group, fail_after, sleep, to_thread
from anyio.abc import TaskGroup

from lab.errors import LabError

LOCK_NAME = "lab.lock"
LOG_NAME = "healer.log"
BEAT_SECONDS = 0.5
START_SECONDS = 10.0
LOCK_SECONDS = 2.0
"""Whoever only looks whether a lab is alive holds its lock for less than this."""
BEAT, RELEASED, READY = b".", b"R", b"ready\n"

Scope = Literal["run", "faults"]
"""What a healer takes away: all that the run has, or the faults alone of a stack that stays up."""


class Lease:
    """`async with Lease(run, folder):` - the run's lock, and a healer that watches over the body.

    run: whose labels the healer goes by; folder: the run's own; ttl_seconds: how long the lab
    may be frozen; scope: what is healed. Raises LabError when another lab has the folder, or when
    the healer does not start; the body is cancelled and LabError raised when the healer dies.

    The lock is held by the lab and its healer together: it is free when both are gone.
    """

    def __init__(
        self, run: str, folder: Path, ttl_seconds: float = 10.0, scope: Scope = "run"
    ) -> None:
        self._run, self._folder, self._ttl_seconds = run, folder, ttl_seconds
        self._scope = scope
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
            with fail_after(LOCK_SECONDS):
                while not _locks(self._lock):  # noqa: ASYNC110 - the kernel tells nobody
                    await sleep(0.05)
        except BaseException as error:
            self._lock.close()
            if not isinstance(error, TimeoutError):
                raise
            raise LabError(
                "another lab is at work here, or its healer", where=str(self._folder)
            ) from error
        words = (self._scope, self._run, str(self._folder.resolve()), f"{self._ttl_seconds:g}")
        self._healer = spawn(self._folder, words, self._lock)
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


def spawn(folder: Path, words: Sequence[str], lock: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a healer that shares the lock; closing its standard input is what makes it heal."""
    with (folder / LOG_NAME).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lab.healing.healer", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=Path(__file__).resolve().parents[2],  # where `-m` finds the package
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            bufsize=0,
        )


def _locks(file: IO[bytes]) -> bool:
    """Take the lock, if nobody holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fd(pipe: IO[bytes] | None) -> int:
    assert pipe is not None, "the healer is started with pipes"
    return pipe.fileno()


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What the body or the beat raised, without the group around it when it is alone."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
