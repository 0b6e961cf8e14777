"""Tasks that do one job after the other: one for each would cost as much as its job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from lab.transport.answer import Answer

J = TypeVar("J")


class Hands(Generic[J]):
    """As many as there are jobs at the same time; each is a task, and what it sets in its context
    is there for its next job too.

    `work` keeps the CancelledError of a job that was to end alone, and its task goes on to the next
    job; every other it raises, and nothing else.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, work: Callable[[J], Awaitable[None]]
    ) -> None:
        self._loop, self._work = loop, work
        self._free: list[Answer[J]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, job: J) -> None:
        """Do the job: it begins before this returns, where a hand is free and no task running."""
        while self._free:
            call = self._free.pop()
            if not call.done:  # else its hand was cancelled
                call.give(job)
                return
        task = self._loop.create_task(self._jobs(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def dismiss(self) -> None:
        """End them all, idle or not."""
        for task in self._tasks:
            task.cancel()

    async def _jobs(self, job: J) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            await self._work(job)
            # Once for its job, which took it; once more is for all of us.
            if task.cancelling() and task.uncancel():
                return
            call = Answer[J](self._loop)
            self._free.append(call)  # the last to be free is the next to work: caches
            job = await call
