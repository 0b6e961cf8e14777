"""Time-outs for a thousand answers a second, at the price of one timer for all of the same moment.

Nearly every one of them is cancelled, which costs asyncio more than the timer itself: its heap is
swept again and again. Here an answer that came needs no cancelling.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary, ref

from lab.transport.answer import Answer

GRAIN_SECONDS, EARLY_SECONDS = 0.02, 0.002
"""A time-out is never early, though uvloop's timers are, by up to the latter, with its clock; and
late by at most both."""


class Deadlines:
    """The time-outs of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_at, self._now = loop.call_at, loop.time
        self._due: dict[int, list[ref[Answer[Any]]]] = {}

    def add(self, answer: Answer[Any], seconds: float) -> None:
        """Let `answer` raise TimeoutError in so many seconds, unless it is there."""
        moment = int((self._now() + seconds + EARLY_SECONDS) / GRAIN_SECONDS) + 1
        due = self._due.get(moment)
        if due is None:
            due = self._due[moment] = []
            self._call_at(moment * GRAIN_SECONDS, self._expire, moment)
        due.append(ref(answer))  # weak: what was received need not stay until then

    def _expire(self, moment: int) -> None:
        for known in self._due.pop(moment):
            answer = known()
            if answer is not None:
                answer.fail(TimeoutError())


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = WeakKeyDictionary()


def deadlines(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """The loop's own."""
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Deadlines(loop)
    return found
