"""The backend's way to the auth service: is this session open, and close it."""

from __future__ import annotations

import asyncio

import aiohttp

from . import log
from .problems import Problem

CHECK_SECONDS, CLOSE_FOR_SECONDS = 2.0, 120.0


class AuthClient:
    """Asks about sessions with their own token; closing one is repeated until it is done."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session
        self._closing: set[asyncio.Task[None]] = set()

    async def is_open(self, token: str) -> bool:
        """Whether the session row is open. Raises Problem `auth_unavailable`."""
        try:
            return await self._post("/sessions/check", token) == 200
        except (aiohttp.ClientError, OSError):
            raise Problem("auth_unavailable", retry_after_ms=500) from None

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
                if await self._post("/sessions/close", token) < 500:
                    return
            except (aiohttp.ClientError, OSError):
                pass  # the next round says so again, until the time is over
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
        log.line("session_not_closed")

    async def _post(self, path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=CHECK_SECONDS)
        async with self._session.post(
            self._url + path, headers=headers, timeout=timeout
        ) as response:
            await response.read()
            return response.status
