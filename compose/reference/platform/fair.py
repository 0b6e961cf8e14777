"""Deficit round robin over tenants, and the gate before the database pool that uses it.

Source: Shreedhar and Varghese, "Efficient fair queueing using deficit round robin", SIGCOMM 1995.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from .defects import planted
from .problems import Problem

T = TypeVar("T")

QUANTUM = 5.0
"""Milliseconds of work that a tenant may take per round."""
RETRY_AFTER_MS = 100


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
                if planted("head_of_line_blocking"):
                    return None
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
            self._removed_from(tenant)
            return tenant, item
        return None

    def waiting(self, tenant: str) -> int:
        """How many items of the tenant are queued."""
        return len(self._queues.get(tenant, ()))

    def discard(self, tenant: str, cost: float, item: T) -> None:
        """Take back what was pushed, if it still waits: it uses neither room nor deficit."""
        queue = self._queues.get(tenant, deque())
        if (cost, item) in queue:
            queue.remove((cost, item))
            self._removed_from(tenant)

    def _removed_from(self, tenant: str) -> None:
        self._size -= 1
        if not self._queues[tenant]:  # who leaves saves nothing for later
            del self._queues[tenant], self._deficit[tenant]
            self._turns.remove(tenant)


class Gate:
    """`slots` for all; `share` says how many of them a tenant may hold and how many wait for one.

    Who waits is served in fair turns; who gives up waiting leaves the queue at once.
    """

    def __init__(
        self, slots: int, share: Callable[[str], tuple[int, int]], queue_max: int = 1024
    ) -> None:
        self._free, self._share, self._queue_max = slots, share, queue_max
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
        except BaseException:
            if planted("share_lost_on_error"):
                self._held[owner] += 1
            raise
        finally:
            self._leave(owner)

    def counters(self) -> dict[str, int]:
        """Free slots and waiting messages."""
        return {"slots_free": self._free, "slots_waited_for": len(self._queue)}

    @property
    def held(self) -> Mapping[str, int]:
        """Who holds how many slots now."""
        return self._held

    def _eligible(self, owner: str) -> bool:
        cap = self._slots if planted("shared_pool") else self._share(owner)[0]
        return self._held.get(owner, 0) < cap

    def _full(self, owner: str) -> bool:
        if planted("queue_unbounded"):
            return False
        return len(self._queue) >= self._queue_max or (
            self._queue.waiting(owner) >= self._share(owner)[1] and not planted("shared_pool")
        )

    async def _enter(self, owner: str, cost_ms: float) -> None:
        if self._free and not len(self._queue) and self._eligible(owner):
            self._take(owner)
            return
        if self._full(owner):
            raise Problem("queue_full", retry_after_ms=RETRY_AFTER_MS)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.push(owner, cost_ms, turn)
        self._dispatch()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # granted in the same tick: hand it back
                self._leave(owner)
            self._queue.discard(owner, cost_ms, turn)
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
