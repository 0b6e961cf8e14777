"""What one task waits for, and is resumed by at once.

An asyncio future wakes its task in the loop's next round. Where each of a thousand answers a second
comes to a process that sleeps, that round is what makes it late, and costs as much as the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Generic, Self, TypeVar

T = TypeVar("T")

Wake = Callable[["Answer[T]"], object]


class Answer(Generic[T]):
    """Awaited by one task, once: a future as far as asyncio.Task looks (asyncio.isfuture).

    The first of `give`, `fail` and `cancel` counts.
    """

    __slots__ = (
        "__weakref__",
        "_asyncio_future_blocking",
        "_context",
        "_error",
        "_loop",
        "_value",
        "_wake",
        "done",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._wake: Wake[T] | None = None
        self._context: Context
        self._error: BaseException | None = None
        self._value: T
        self.done = False

    def give(self, value: T) -> None:
        """Resume the task with `value`: before this returns, unless another task is running."""
        if self.done:
            return
        self._value, self.done = value, True
        if self._wake is None:
            return
        if asyncio.current_task(self._loop) is None:
            self._context.run(self._wake, self)
        else:
            self._loop.call_soon(self._wake, self, context=self._context)

    def fail(self, error: BaseException) -> None:
        """Resume the task with an exception, in the loop's next round."""
        if self.done:
            return
        self._error, self.done = error, True
        if self._wake is not None:
            self._loop.call_soon(self._wake, self, context=self._context)

    def cancel(self, msg: object = None) -> bool:
        """What cancelling the task comes to; False when it is resumed already."""
        if self.done:
            return False
        self.fail(asyncio.CancelledError())
        return True

    def result(self) -> T:
        """What was given; raises what it failed with."""
        if self._error is not None:
            raise self._error
        return self._value

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The task's own."""
        return self._loop

    def add_done_callback(self, wake: Wake[T], *, context: Context) -> None:
        """Take what resumes the task."""
        self._wake, self._context = wake, context

    def __await__(self) -> Generator[Self, None, T]:
        if not self.done:
            self._asyncio_future_blocking = True
            yield self
        return self.result()
