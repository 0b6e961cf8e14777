"""A certificate for every planted defect: the smallest direct probe that tells whether it is live.

Each takes a running stack and returns whether the defect shows; on a sound stack none may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from lab.actions import Read, Work, Write
from lab.system import Refused

from .stacks import Running

HEAVY, HEAVY_MS = 24, 40
BACK_SECONDS = 4.0
DEADLINE_SECONDS = 5.0


async def shared_pool(running: Running) -> bool:
    """One tenant asks for many heavy queries at once: live when most of them are let in."""
    _, session = await running.session("noisy")

    async def heavy(n: int) -> bool:
        action = Work("query", HEAVY_MS)
        try:
            await session.perform(action, op=f"heavy-{n}", deadline_seconds=DEADLINE_SECONDS)
        except Refused:
            return False
        return True

    done = await asyncio.gather(*(heavy(n) for n in range(HEAVY)))
    return sum(done) > HEAVY / 2


async def response_cache(running: Running) -> bool:
    """Two tenants use the same key: live when the second is given the first one's value."""
    first, second = await running.tenants(2)
    one, two = await running.connect(first), await running.connect(second)
    secret = f"secret-of-{first.id}"
    await one.perform(Write("shared-name", secret), op="w", deadline_seconds=DEADLINE_SECONDS)
    await one.perform(Read("shared-name"), op="r", deadline_seconds=DEADLINE_SECONDS)
    seen = await two.perform(Read("shared-name"), op="r", deadline_seconds=DEADLINE_SECONDS)
    return secret in seen.raw


async def redis_no_reconnect(running: Running) -> bool:
    """Redis is cut off and comes back: live when answers do not."""
    _, session = await running.session()

    async def answers(op: str) -> bool:
        try:
            await session.perform(Read("k"), op=op, deadline_seconds=DEADLINE_SECONDS)
        except (Refused, RuntimeError, OSError):
            return False
        return True

    assert await answers("before")
    await running.stack.links.enable("redis", False)
    cut = not await answers("cut")
    await running.stack.links.enable("redis", True)
    assert cut
    until, n = time.monotonic() + BACK_SECONDS, 0
    while time.monotonic() < until:
        n += 1
        if await answers(f"after-{n}"):
            return False
        await asyncio.sleep(0.1)
    return True


async def orphan_agent(running: Running) -> bool:
    """A tenant goes away: live when its agent process is still there a while later."""
    tenant, session = await running.session()
    assert tenant.id in await running.stack.containers.agents()
    await session.close()
    until = time.monotonic() + BACK_SECONDS
    while time.monotonic() < until:
        if tenant.id not in await running.stack.containers.agents():
            return False
        await asyncio.sleep(0.05)
    return True


CERTIFICATES: dict[str, Callable[[Running], Awaitable[bool]]] = {
    "shared_pool": shared_pool,
    "response_cache": response_cache,
    "redis_no_reconnect": redis_no_reconnect,
    "orphan_agent": orphan_agent,
}
