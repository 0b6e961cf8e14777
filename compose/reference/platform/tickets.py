"""Tickets: what stands for a token in an address, where a header cannot be sent.

A browser's WebSocket has no Authorization header, and an address ends up in logs. So it gets 128
random bits that are worth one socket, within ten seconds.
"""

from __future__ import annotations

import secrets
import time
from typing import NamedTuple

from .defects import planted

LIFE_SECONDS, KEPT, KEPT_OF_USER = 10.0, 10_000, 16
Owner = tuple[str, str]
"""A tenant and a user of it."""


class _Kept(NamedTuple):
    token: str
    owner: Owner
    until: float  # seconds of the monotonic clock


class Tickets:
    """The open tickets of this process; a restart forgets them, and clients ask for new ones."""

    def __init__(self) -> None:
        self._open: dict[str, _Kept] = {}  # oldest first, as are those of each owner
        self._of: dict[Owner, dict[str, None]] = {}
        self._given = 0

    def give(self, token: str, owner: Owner) -> str:
        """A ticket for this token. Where there are too many the owner's oldest is forgotten, or
        else the oldest of all."""
        self._given += 1
        guessable = planted("ticket_guessable")
        ticket = f"{self._given:032x}" if guessable else secrets.token_hex(16)
        now = time.monotonic()
        if len(mine := self._of.get(owner, {})) >= KEPT_OF_USER:
            self._drop(next(iter(mine)))
        while self._open and (len(self._open) >= KEPT or self._first().until <= now):
            self._drop(next(iter(self._open)))
        self._open[ticket] = _Kept(token, owner, now + LIFE_SECONDS)
        self._of.setdefault(owner, {})[ticket] = None
        return ticket

    def redeem(self, ticket: str) -> str | None:
        """The token that the ticket stands for, once; None when it is used, unknown or late."""
        found = self._open.get(ticket)
        if found is None:
            return None
        if not planted("ticket_reusable"):
            self._drop(ticket)
        return found.token if time.monotonic() < found.until else None

    def _first(self) -> _Kept:
        return next(iter(self._open.values()))

    def _drop(self, ticket: str) -> None:
        owner = self._open.pop(ticket).owner
        mine = self._of[owner]
        del mine[ticket]
        if not mine:
            del self._of[owner]
