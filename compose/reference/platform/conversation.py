"""Requests to an agent and their replies, told apart by number; whatever carries them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from .defects import planted
from .problems import Problem

PACKET_MAX = 131072
Step = dict[str, Any]
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Conversation:
    """What is asked and not yet answered. A carrier implements `_send`, `_hang_up` and `stop`.

    alive: the agent may be asked; start_ms: how long it took to be ready.
    """

    def __init__(self) -> None:
        self._waiters: dict[int, asyncio.Future[Step]] = {}
        self._last_id = 0
        self.gone = asyncio.Event()
        self.alive, self.start_ms = True, 0.0

    async def open(self, opening: Step) -> None:
        """Tell the agent what it may use, and wait until it is ready. Raises Problem."""
        await self._answered(0, opening)

    async def ask(self, request: Step) -> Step:
        """Send a request and wait for its reply.

        Raises Problem `agent_crashed` when it dies, `too_large` for what no packet has room for.
        """
        self._last_id += 1
        return await self._answered(self._last_id, {**request, "id": self._last_id})

    async def measured(self, request: Step) -> tuple[Step, float]:
        """As `ask`, with the milliseconds of CPU that it cost, children left out.

        Its own word, where nothing here can see its process: what it could gain by a lie is bounded
        by its container.
        """
        reply = await self.ask(request)
        return reply, float(reply.get("cpu_ms", 0.0))

    def facts(self) -> Step:
        """What is known of the agent, for people."""
        return {"alive": self.alive, "start_ms": self.start_ms}

    async def stop(self) -> None:
        """End the agent and everything it has."""
        raise NotImplementedError

    def _send(self, packet: bytes) -> None:
        raise NotImplementedError

    def _hang_up(self) -> None:
        raise NotImplementedError

    async def _answered(self, number: int, request: Step) -> Step:
        packet = _encode(request)
        if len(packet) > PACKET_MAX:
            raise Problem("too_large")
        waiter = self._waiters[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(packet)
            return await waiter
        finally:
            self._waiters.pop(number, None)

    def _heard(self, packet: bytes) -> None:
        """Hand a reply to whoever waits for it; one that nobody waits for any more is dropped."""
        try:
            reply = _decode(packet)
            waiter = self._waiters.get(reply["id"])
        except (msgspec.DecodeError, LookupError, TypeError):
            self._hang_up()  # an agent that talks nonsense is ended, never believed
            return
        if planted("agent_reply_by_order"):
            waiter = next(iter(self._waiters.values()), None)
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def _ended(self) -> None:
        """The agent is gone, and all who wait learn it."""
        self.alive = False
        self.gone.set()
        if planted("agent_crash_unnoticed"):
            return
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(Problem("agent_crashed"))
        self._waiters.clear()
