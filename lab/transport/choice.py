"""Which client makes the connections: the run's choice, and no driver's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum

from lab.errors import UsageError
from lab.transport.socket import Hear, Lose, Socket

VARIABLE = "LAB_TRANSPORT"


class Transport(StrEnum):
    """The clients."""

    WEBSOCKETS = "websockets"
    PICOWS = "picows"


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
