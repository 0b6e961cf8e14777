"""Many questions in flight on one socket, each answered by the message that bears its key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, Self, TypeVar

from lab.transport.answer import Answer
from lab.transport.choice import Transport, connect
from lab.transport.deadlines import deadlines
from lab.transport.socket import ClosedError, Socket

T = TypeVar("T")

Read = Callable[[str], tuple[str, T]]
"""Takes a message apart: the key of the question that it answers (empty: of none), the answer.

ValueError, LookupError, TypeError or MsgspecError when it makes no sense: the line then ends, for
what came after cannot be trusted either.
"""


class Line(Generic[T]):
    """A socket, and who waits for which answer. Answers that nobody waits for are overheard."""

    __slots__ = ("_deadlines", "_heard", "_loop", "_read", "_waiting", "socket")

    def __init__(self, read: Read[T]) -> None:
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._deadlines = deadlines(self._loop)
        self._waiting: dict[str, Answer[T]] = {}
        self._heard: list[str] = []
        self.socket: Socket

    async def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> Self:
        """Open the line to `url`; raises what `connect` raises."""
        self.socket = await connect(
            url, hear=self._take, lose=self._lose, headers=headers, transport=transport
        )
        return self

    @property
    def closed(self) -> ClosedError | None:
        """See Socket."""
        return self.socket.closed

    async def ask(self, key: str, message: str | bytes, deadline_seconds: float) -> T:
        """Send a message and wait for its answer. Raises TimeoutError or ClosedError."""
        answer = self._waiting[key] = Answer(self._loop)
        self._deadlines.add(answer, deadline_seconds)
        try:
            self.socket.send(message)
            return await answer
        finally:
            answer.done = True  # nobody waits any more
            self._waiting.pop(key, None)

    def tell(self, message: str | bytes) -> None:
        """Send a message that nobody waits for an answer to. Raises ClosedError."""
        self.socket.send(message)

    def hear(self, text: str) -> None:
        """Count text as overheard: it was received and will be in no reply."""
        self._heard.append(text)

    def overheard(self) -> list[str]:
        """Take what was overheard since the last call."""
        heard, self._heard = self._heard, []
        return heard

    async def close(self) -> None:
        """See Socket."""
        await self.socket.close()

    def abort(self) -> None:
        """See Socket."""
        self.socket.abort()

    def _take(self, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode(errors="replace")
        try:
            key, answer = self._read(text)
        except Exception:
            self.hear(text)
            raise
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.done:
            waiting.give(answer)
        else:
            self.hear(text)

    def _lose(self, why: ClosedError) -> None:
        for waiting in self._waiting.values():
            waiting.fail(why)
