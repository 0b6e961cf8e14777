"""Work that nobody waits for: it goes on after any mistake, and no tenant is in another's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from . import log

AT_ONCE, AGAIN_SECONDS = 8, 0.5


async def each(tenants: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Do the work for all of them, a few at once: who hangs or fails is in nobody's way."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(tenant: str) -> None:
        async with free:
            try:
                await work(tenant)
            except Exception as bug:  # noqa: BLE001 - told here; it is one tenant's only
                log.line("upkeep_failed", tenant=tenant, error=type(bug).__name__)

    await asyncio.gather(*(one(tenant) for tenant in tenants))


async def for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work, and again when an exception that it does not know has ended it."""
    while True:
        try:
            await work()
        except Exception as bug:  # noqa: BLE001 - it is told, and the work must not end silently
            log.line("upkeep_failed", work=name, error=type(bug).__name__)
        await asyncio.sleep(AGAIN_SECONDS)
