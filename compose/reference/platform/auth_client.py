"""The backend's way to the auth service: sessions asked about and closed, tickets redeemed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from http import HTTPStatus

import aiohttp
import msgspec

from . import log
from .breaker import Breaker
from .problems import Problem
from .tokens import TokenError, issue_service

CALL_SECONDS, CLOSE_FOR_SECONDS = 2.0, 120.0
Session = tuple[str, str]
"""A tenant and a session id."""


class AuthClient:
    """Asks about sessions with their own token, and with the backend's own where it must.

    Whatever asks raises Problem `auth_unavailable`; closing is repeated until it is done.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession, key: str) -> None:
        self._url, self._session, self._key = url, session, key
        self._closing: set[asyncio.Task[None]] = set()
        self.breaker = Breaker("auth", self.probe)

    async def is_open(self, token: str) -> bool:
        """Whether the session may be used."""
        status, _ = await self._asked("/sessions/check", token)
        return status == HTTPStatus.OK

    async def redeemed(self, ticket: str) -> str:
        """The token of a ticket. Raises TokenError when the ticket is not good."""
        body = msgspec.json.encode({"ticket": ticket})
        status, answer = await self._asked("/tickets/redeem", issue_service(self._key), body)
        if status != HTTPStatus.OK:
            raise TokenError("the ticket is used, late or unknown")
        return msgspec.json.decode(answer, type=dict[str, str])["token"]

    async def over(self, sessions: Collection[Session]) -> list[Session]:
        """Which of these sessions were closed, or have an inactive user."""
        body = msgspec.json.encode({"sessions": list(sessions)})
        status, answer = await self._asked("/sessions/over", issue_service(self._key), body)
        if status != HTTPStatus.OK:
            raise Problem("auth_unavailable", retry_after_ms=500)
        return msgspec.json.decode(answer, type=dict[str, list[Session]])["over"]

    def close_later(self, token: str) -> None:
        """Close the session row in the background, for as long as it takes (within reason)."""
        task = asyncio.get_running_loop().create_task(self._close(token))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def settled(self) -> None:
        """Wait for what is being closed."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=2)

    async def probe(self) -> None:
        """Raises unless auth is up."""
        timeout = aiohttp.ClientTimeout(total=0.8)
        async with self._session.get(f"{self._url}/health", timeout=timeout) as response:
            response.raise_for_status()

    async def _close(self, token: str) -> None:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + CLOSE_FOR_SECONDS, 0.1
        while loop.time() < until:
            try:
                if (await self._post("/sessions/close", token))[0] < 500:
                    return
            except (aiohttp.ClientError, OSError):
                pass  # the next round says so again, until the time is over
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
        log.line("session_not_closed")

    async def _asked(self, path: str, token: str, body: bytes = b"") -> tuple[int, bytes]:
        self.breaker.check()
        try:
            status, answer = await self._post(path, token, body)
        except (aiohttp.ClientError, OSError):
            self.breaker.failed()
            raise Problem("auth_unavailable", retry_after_ms=500) from None
        self.breaker.succeeded()
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Problem("auth_unavailable", retry_after_ms=500)
        return status, answer

    async def _post(self, path: str, token: str, body: bytes = b"") -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with self._session.post(
            self._url + path, headers=headers, timeout=timeout, data=body
        ) as response:
            return response.status, await response.read()
