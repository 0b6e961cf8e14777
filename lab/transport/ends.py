"""What both clients do alike on the receiving side: fragments, delivery, and one end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from msgspec import MsgspecError

from lab.transport.socket import (
    CLOSE_SECONDS,
    MESSAGE_BYTES_MAX,
    PROTOCOL,
    TOO_BIG,
    UNREADABLE,
    ClosedError,
    Hear,
    Lose,
)


class Ends(ABC):
    """One connection's receiving side; a client feeds it frames and says how to leave."""

    def __init__(self, hear: Hear, lose: Lose) -> None:
        self._hear, self._lose = hear, lose
        self._fragments: list[bytes] = []
        self._is_text = True
        self._gone: asyncio.Future[None] | None = None
        self._disconnected = False
        self.closed: ClosedError | None = None

    @abstractmethod
    def send_close(self, code: int, reason: str) -> None:
        """Send a Close frame, unless one was sent."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See Socket."""
        if self._disconnected:
            return
        self._gone = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                self.send_close(code, reason)
                await self._gone
        except TimeoutError:
            self.abort()
        finally:
            self._gone = None

    def deliver(self, data: bytes, is_text: bool) -> None:
        """Pass a whole message on; one that nobody can read ends the connection."""
        if self.closed is not None:
            return
        if len(data) > MESSAGE_BYTES_MAX:
            self.fail(TOO_BIG, "a message that is too long")
            return
        try:
            self._hear(data.decode() if is_text else data)
        except (ValueError, LookupError, TypeError, MsgspecError) as error:
            self.fail(UNREADABLE, f"a message that cannot be read: {error!r}")

    def begin(self, data: bytes, is_text: bool) -> None:
        """The first of several fragments."""
        self._fragments, self._is_text = [data], is_text

    def go_on(self, data: bytes, is_last: bool) -> None:
        """One more fragment."""
        if not self._fragments:
            self.fail(PROTOCOL, "a continuation of nothing")
            return
        self._fragments.append(data)
        if is_last or sum(map(len, self._fragments)) > MESSAGE_BYTES_MAX:
            whole, self._fragments = b"".join(self._fragments), []
            self.deliver(whole, self._is_text)

    def fail(self, code: int, why: str) -> None:
        """Our side ends it: nothing that comes now can be trusted."""
        if self.closed is None:
            self.send_close(code, "")
            self.end(ClosedError(code, why))

    def end(self, why: ClosedError) -> None:
        """Nothing further will be heard. Only the first reason counts."""
        if self.closed is None:
            self.closed = why
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._overdue)
            self._lose(why)

    def disconnected(self) -> None:
        """The TCP connection is no more."""
        self._disconnected = True
        self.end(ClosedError())
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _overdue(self) -> None:
        """The other side said goodbye and never hung up."""
        if not self._disconnected:
            self.abort()
