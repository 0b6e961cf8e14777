"""A light circuit breaker: after failures in a row say no at once, and probe for the way back.

Source of the idea: Nygard, "Release It!", 2007. There is one probe at a time, and each has an end:
what hangs in a black hole must not pile up there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .problems import Problem

THRESHOLD = 3
PROBE_EVERY_SECONDS, DOUBT_SECONDS = 0.25, 1.0
PROBE_SECONDS = 3.0
"""Longer than any probe's own limits, by which it tidies up behind itself."""


class Breaker:
    """Guards one dependency; `probe` must raise while the dependency is not usable."""

    def __init__(self, name: str, probe: Callable[[], Awaitable[object]]) -> None:
        self.name, self._probe = name, probe
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._doubt: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are refused at present."""
        return self._task is not None

    def check(self) -> None:
        """Raises Problem `<name>_unavailable` while open."""
        if self._task is not None:
            raise Problem(
                f"{self.name}_unavailable", retry_after_ms=int(PROBE_EVERY_SECONDS * 1000)
            )

    def succeeded(self) -> None:
        """A call got through."""
        self._failures = 0

    def failed(self) -> None:
        """A call failed for reasons of the connection, not of its content."""
        self._failures += 1
        if self._failures >= THRESHOLD and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._until_back())

    def suspect(self) -> None:
        """A call took too long, which may be its own fault: a probe decides."""
        if self._task is None and self._doubt is None:
            self._doubt = asyncio.get_running_loop().create_task(self._doubted())

    def close(self) -> None:
        """Stop probing."""
        for task in (self._task, self._doubt):
            if task is not None:
                task.cancel()

    async def _doubted(self) -> None:
        try:
            if not await self._gets_through(DOUBT_SECONDS):
                self._failures = THRESHOLD
                self.failed()
        finally:
            self._doubt = None

    async def _gets_through(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._probe()
        except Exception:  # noqa: BLE001 - whatever a probe raises says that it is not usable
            return False
        return True

    async def _until_back(self) -> None:
        try:
            while not await self._gets_through(PROBE_SECONDS):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(PROBE_EVERY_SECONDS)
        finally:
            self._failures = 0
            self._task = None
