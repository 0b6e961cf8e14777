"""Tickets: what stands for a token in an address, where a header cannot be sent.

A browser's WebSocket has no Authorization header, and an address ends up in logs. So it gets 128
random bits that are worth one socket, within ten seconds.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict

from .defects import planted

LIFE_SECONDS, KEPT = 10.0, 10_000


class Tickets:
    """The open tickets of this process; a restart forgets them, and clients ask for new ones."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._given = 0

    def give(self, token: str) -> str:
        """A ticket for this token. The oldest is forgotten where there are too many."""
        self._given += 1
        guessable = planted("ticket_guessable")
        ticket = f"{self._given:032x}" if guessable else secrets.token_hex(16)
        self._open[ticket] = (token, time.monotonic() + LIFE_SECONDS)
        while len(self._open) > KEPT:
            self._open.popitem(last=False)
        return ticket

    def redeem(self, ticket: str) -> str | None:
        """The token that the ticket stands for, once; None when it is used, unknown or late."""
        found = self._open.get(ticket)
        if found is None:
            return None
        if not planted("ticket_reusable"):
            del self._open[ticket]
        token, until = found
        return token if time.monotonic() < until else None
