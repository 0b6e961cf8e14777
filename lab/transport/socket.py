"""What a WebSocket connection is to a driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

MESSAGE_BYTES_MAX = 1_048_576
"""A longer message from the server breaks the connection with 1009."""
CONNECT_SECONDS, CLOSE_SECONDS = 10.0, 2.0
NORMAL, PROTOCOL, NO_CODE, ABNORMAL, UNREADABLE, TOO_BIG = 1000, 1002, 1005, 1006, 1007, 1009
"""Close codes of RFC 6455, 7.4.1; 1005: a Close frame without one; 1006: no Close frame came."""

Hear = Callable[[str | bytes], None]
"""Gets every message, in order: text as str, binary as bytes."""
Lose = Callable[["ClosedError"], None]
"""Is told once that the connection has ended, whoever ended it."""


class ClosedError(ConnectionResetError):
    """The connection has ended. code, reason: of the server's Close frame; 1006 without one."""

    def __init__(self, code: int = ABNORMAL, reason: str = "") -> None:
        super().__init__(f"the socket closed with {code} {reason}".rstrip())
        self.code, self.reason = code, reason


class UpgradeError(ConnectionRefusedError):
    """The server answered the opening handshake with `status`, not with 101; 0: with no HTTP."""

    def __init__(self, status: int, why: str = "") -> None:
        super().__init__(f"the upgrade failed with {status or why}")
        self.status = status


class Socket(Protocol):
    """An open connection."""

    @property
    def closed(self) -> ClosedError | None:
        """Why the connection is no more; None while it is."""
        ...

    def send(self, message: str | bytes) -> None:
        """Send a text or a binary message without waiting. Raises ClosedError.

        What the server does not take is kept here, and bounded by what a tenant may have in flight.
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and wait at most 2 s for the other side, then drop the connection."""
        ...

    def abort(self) -> None:
        """Drop the connection at once, by a reset where the other side still sends."""
        ...
