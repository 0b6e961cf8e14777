"""The event loop of a command: what SIGINT and SIGTERM do to it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from signal import SIGINT, SIGTERM, Signals
from typing import TypeVar

import anyio

from lab.errors import ExitCode, one_line

T = TypeVar("T")


class Leave(Exception):  # noqa: N818 - not an error: the command is done, with this exit code
    """Ends a command with an exit code of the lab's own; every other way to 1 is not VIOLATED."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code.meaning)
        self.code = code


def finished(work: Callable[[], Awaitable[T]], ended: str = "healed and taken down") -> T:
    """Run `work` on the event loop; SIGINT and SIGTERM cancel it, and healing goes on.

    ended: what is true, and told, once a signal's cancellation has run its course.
    """
    caught: list[Signals] = []
    results: list[T] = []

    async def watch(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
            async for number in signals:
                caught.append(number)
                scope.cancel()

    async def inside() -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(watch, scope)
                results.append(await work())
            group.cancel_scope.cancel()

    with one_line():
        anyio.run(inside)
    if caught:
        code = ExitCode.INTERRUPTED if caught[0] is SIGINT else ExitCode.TERMINATED
        say(f"{Signals(caught[0]).name}: {ended}")
        raise Leave(code)
    return results[0]


def say(line: str) -> None:
    """One line of progress, on standard error."""
    print(line, file=sys.stderr, flush=True)
