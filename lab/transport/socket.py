"""What a WebSocket connection is to a driver, and which client makes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from lab.errors import UsageError

VARIABLE = "LAB_TRANSPORT"
MESSAGE_BYTES_MAX = 1_048_576
"""A longer message from the server breaks the connection with 1009."""
CONNECT_SECONDS, CLOSE_SECONDS = 10.0, 2.0
NORMAL, PROTOCOL, NO_CODE, ABNORMAL, UNREADABLE, TOO_BIG = 1000, 1002, 1005, 1006, 1007, 1009
"""Close codes of RFC 6455, 7.4.1; 1005: a Close frame without one; 1006: no Close frame came."""

Hear = Callable[[str | bytes], None]
"""Gets every message, in order: text as str, binary as bytes."""
Lose = Callable[["ClosedError"], None]
"""Is told once that the connection has ended, whoever ended it."""


class Transport(StrEnum):
    """The clients."""

    WEBSOCKETS = "websockets"
    PICOWS = "picows"


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


def chosen() -> Transport:
    """The run's transport, from LAB_TRANSPORT. Raises UsageError for one that there is not."""
    name = os.environ.get(VARIABLE) or Transport.WEBSOCKETS
    try:
        return Transport(name)
    except ValueError:
        mend = f"one of {', '.join(Transport)}"
        raise UsageError(f"there is no transport {name!r}", where=VARIABLE, mend=mend) from None


async def connect(
    url: str,
    *,
    hear: Hear,
    lose: Lose,
    headers: Mapping[str, str] | None = None,
    transport: Transport | None = None,
) -> Socket:
    """Open `url` (ws or wss): no compression, no proxy, no pings of our own, pings answered.

    A keepalive of ours would end a connection that a partition holds up, at a time of its own.
    hear and lose may be called before this returns. Raises UpgradeError, OSError, TimeoutError
    (after 10 s).
    """
    if (transport or chosen()) is Transport.PICOWS:
        from lab.transport.by_picows import connected
    else:
        from lab.transport.by_websockets import connected
    return await connected(url, dict(headers or {}), hear, lose)
