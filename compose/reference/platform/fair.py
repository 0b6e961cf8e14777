"""Deficit round robin over tenants, and the gate before the database pool that uses it.

Source: Shreedhar and Varghese, "Efficient fair queueing using deficit round robin", SIGCOMM 1995.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from .defects import planted
from .problems import Problem

T = TypeVar("T")

QUANTUM = 5.0
"""Milliseconds of work that a tenant may take per round."""


class DeficitRoundRobin(Generic[T]):
    """A queue per tenant; `pop` serves tenants in turn, each within the deficit it has saved."""

    def __init__(self, quantum: float = QUANTUM) -> None:
        self._quantum = quantum
        self._queues: dict[str, deque[tuple[float, T]]] = {}
        self._deficit: dict[str, float] = {}
        self._turns: deque[str] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, tenant: str, cost: float, item: T) -> None:
        """Queue an item that will cost about `cost` milliseconds."""
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = deque()
            self._deficit[tenant] = 0.0
            self._turns.append(tenant)
        queue.append((cost, item))
        self._size += 1

    def pop(self, eligible: Callable[[str], bool]) -> tuple[str, T] | None:
        """The next item of a tenant that may run now; None when there is none."""
        waiting = 0  # tenants in a row that may not run
        while waiting < len(self._turns):
            tenant = self._turns[0]
            if not eligible(tenant):
                self._turns.rotate(-1)
                waiting += 1
                continue
            waiting = 0
            cost, item = self._queues[tenant][0]
            if self._deficit[tenant] < cost:
                self._deficit[tenant] += self._quantum
                self._turns.rotate(-1)
                continue
            self._deficit[tenant] -= cost
            self._queues[tenant].popleft()
            self._size -= 1
            if not self._queues[tenant]:
                del self._queues[tenant], self._deficit[tenant]
                self._turns.popleft()
            return tenant, item
        return None


class Gate:
    """`slots` at once for all, `per_tenant` for one; who waits is served in fair turns."""

    def __init__(self, slots: int, per_tenant: int, queue_max: int = 1024) -> None:
        self._free, self._per_tenant, self._queue_max = slots, per_tenant, queue_max
        self._slots = slots
        self._held: dict[str, int] = {}
        self._queue: DeficitRoundRobin[asyncio.Future[None]] = DeficitRoundRobin()

    @asynccontextmanager
    async def slot(self, tenant: str, cost_ms: float) -> AsyncGenerator[None]:
        """Hold one slot. Raises Problem `queue_full`; the caller's deadline bounds the wait."""
        owner = "everyone" if planted("shared_pool") else tenant
        await self._enter(owner, 1.0 if planted("shared_pool") else cost_ms)
        try:
            yield
        finally:
            self._leave(owner)

    def counters(self) -> dict[str, int]:
        """Free slots and waiting messages."""
        return {"slots_free": self._free, "slots_waited_for": len(self._queue)}

    def _eligible(self, owner: str) -> bool:
        cap = self._slots if planted("shared_pool") else self._per_tenant
        return self._held.get(owner, 0) < cap

    async def _enter(self, owner: str, cost_ms: float) -> None:
        if self._free and not len(self._queue) and self._eligible(owner):
            self._take(owner)
            return
        if len(self._queue) >= self._queue_max:
            raise Problem("queue_full", retry_after_ms=100)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.push(owner, cost_ms, turn)
        self._dispatch()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # granted in the same tick: hand it back
                self._leave(owner)
            raise

    def _take(self, owner: str) -> None:
        self._free -= 1
        self._held[owner] = self._held.get(owner, 0) + 1

    def _leave(self, owner: str) -> None:
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._dispatch()

    def _dispatch(self) -> None:
        while self._free and (found := self._queue.pop(self._eligible)):
            owner, turn = found
            if not turn.done():  # a cancelled waiter takes no slot
                self._take(owner)
                turn.set_result(None)
