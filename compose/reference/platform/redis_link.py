"""One multiplexed connection to Redis, which is replaced whenever it dies.

hiredis parses; commands are pipelined in order. A reply that does not come in time closes the
connection, because a late reply must never be taken for the next one's (redis-py 4.5.1 did that).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

import hiredis

from . import log
from .breaker import Breaker
from .defects import planted
from .problems import Problem
from .retry import RetryBudget

Reply = bytes | int | list["Reply"] | None


class _Wire(asyncio.Protocol):
    """One TCP connection: replies are handed to the waiters in order."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiters: deque[asyncio.Future[Reply]] = deque()
        self._transport: asyncio.Transport | None = None
        self.alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.alive = transport, True  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if not self._waiters:  # it answers what nobody asked: never to be believed again
                return self.abort()
            waiter = self._waiters.popleft()
            if waiter.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                waiter.set_exception(reply)
            else:
                waiter.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(ConnectionResetError("redis connection lost"))

    def send(self, *words: str | bytes | int) -> asyncio.Future[Reply]:
        """Queue a command; the future is its reply."""
        if not self.alive or self._transport is None:
            raise ConnectionResetError("redis connection is down")
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._transport.write(hiredis.pack_command(words))
        return waiter

    def forget(self, waiter: asyncio.Future[Reply]) -> None:
        """Nobody waits for this reply any more; the mistake: it will come all the same."""
        self._waiters.remove(waiter)

    def abort(self) -> None:
        """Drop the connection; all waiters fail."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)


class RedisLink:
    """Commands with a time limit, on a connection that is made again when it has died."""

    def __init__(
        self, host: str, port: int, password: str, *, connect_seconds: float, reply_seconds: float
    ) -> None:
        self._host, self._port, self._password = host, port, password
        self._connect_seconds, self._reply_seconds = connect_seconds, reply_seconds
        self._wire: _Wire | None = None
        self._connecting = asyncio.Lock()
        self.breaker, self.budget = Breaker("redis", self.probe), RetryBudget()

    async def call(self, *words: str | bytes | int, until: float = math.inf) -> Reply:
        """One command, never repeated, with a reply by loop time `until` at the latest.

        Raises Problem `redis_unavailable`, also where Redis says that it will not
        (OOM, READONLY, NOREPLICAS, NOPERM, LOADING); ReplyError for a script it does not know.
        """
        self.breaker.check()
        sent = False
        try:
            wire = self._wire if self._wire and self._wire.alive else await self._connected()
            sent = True
            reply = await self._replied(wire, until, *words)
        except OSError as error:  # TimeoutError and all connection errors are OSErrors
            self.breaker.failed()
            raise Problem("redis_unavailable", definite=not sent) from error
        except hiredis.ReplyError as error:  # the connection is good: nothing for the breaker
            if str(error).startswith("NOSCRIPT"):
                raise
            log.line("redis_refused", reason=str(error).partition(" ")[0])
            raise Problem("redis_unavailable") from error
        self.breaker.succeeded()
        return reply

    async def read(self, *words: str | bytes | int, until: float = math.inf) -> Reply:
        """As `call`, for a command that changes nothing: once more, on a fresh connection, when
        the old one broke and the budget has a retry left. A slow reply is not asked for again."""
        self.budget.called()
        try:
            return await self.call(*words, until=until)
        except Problem as problem:
            broken = isinstance(problem.__cause__, ConnectionResetError)
            if not broken or self.breaker.is_open or not self.budget.may_retry():
                raise
        return await self.call(*words, until=until)

    async def probe(self) -> None:
        """Raises OSError or ReplyError unless Redis answers, and well."""
        await self._replied(await self._connected(), math.inf, "PING")

    def close(self) -> None:
        """Drop the connection."""
        self.breaker.close()
        if self._wire:
            self._wire.abort()

    async def _replied(self, wire: _Wire, until: float, *words: str | bytes | int) -> Reply:
        at_most = asyncio.get_running_loop().time() + self._reply_seconds
        reply = wire.send(*words)
        try:
            async with asyncio.timeout_at(min(at_most, until)):
                return await reply
        except TimeoutError:
            wire.abort()
            raise
        except asyncio.CancelledError:
            if planted("cancelled_reply_left"):
                wire.forget(reply)
            raise

    async def _connected(self) -> _Wire:
        async with self._connecting:
            if self._wire and (self._wire.alive or planted("redis_no_reconnect")):
                return self._wire
            async with asyncio.timeout(self._connect_seconds):
                loop = asyncio.get_running_loop()
                _, wire = await loop.create_connection(_Wire, self._host, self._port)
                try:
                    await wire.send("AUTH", "app", self._password)
                except hiredis.ReplyError as error:
                    wire.abort()
                    raise ConnectionRefusedError("redis refused the login") from error
                except BaseException:
                    wire.abort()
                    raise
            self._wire = wire
            return wire
