"""The WebSocket `/ws`: who is there, what they may send, one answer for each message, and good-bye.

Before the upgrade: 401 token or session not good, 403 foreign origin, 429 too many sockets,
503 auth or agent not available, or draining. Close codes: 1003 binary, 1009 too large (64 KiB),
1012 draining, 4401 the token has expired.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from . import log, metrics
from .admission import Admission, Tally
from .auth_client import AuthClient
from .config import Backend
from .messages import UserMessage, Work, error, message_id_of, parse
from .problems import Problem
from .tokens import LEEWAY_SECONDS, Principal, TokenError, bearer, verify
from .turn import Rooms, Turn

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AUDIT = "INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail) VALUES ($1, $2, $3, $4)"
DENIED = {
    "auth_unavailable": 503,
    "agent_unavailable": 503,
    "draining": 503,
    "too_many_sockets": 429,
}
EXPIRED, BINARY = 4401, 1003
PENALTY_SECONDS, BURST_SECONDS = 0.025, 0.005


@dataclass(slots=True)
class Gateway:
    """The endpoint; a raw ASGI application, because every message goes through it."""

    settings: Backend
    rooms: Rooms
    auth: AuthClient
    draining: bool = False
    sockets: dict[str, int] = field(default_factory=dict)
    in_flight: set[asyncio.Task[None]] = field(default_factory=set)

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one socket from its upgrade to its end."""
        await receive()  # websocket.connect
        try:
            token, who = await self._let_in(scope)
        except (TokenError, Problem) as reason:
            metrics.denied.labels(str(reason) if isinstance(reason, Problem) else "token").inc()
            await _deny(send, _status(reason))
            return
        tenant = who.tenant
        self.sockets[tenant] = self.sockets.get(tenant, 0) + 1
        try:
            await self.rooms.agents.open(tenant)
        except Problem as reason:
            self._gone(tenant, token)
            await _deny(send, _status(reason))
            return
        try:
            await send({"type": "websocket.accept"})
            await Connection(self, who, receive, send).serve()
        finally:
            self._gone(tenant, token)
            await asyncio.shield(self.rooms.agents.close(tenant))

    async def drain(self) -> None:
        """Let nobody in, wait for what is in flight, within the limit."""
        self.draining = True
        if self.in_flight:
            await asyncio.wait(self.in_flight, timeout=self.settings.drain_seconds)

    async def _let_in(self, scope: Event) -> tuple[str, Principal]:
        headers = dict(scope["headers"])
        if b"origin" in headers:  # a browser; programs send none
            raise Problem("foreign_origin")
        if self.draining:
            raise Problem("draining")
        token = bearer(headers.get(b"authorization", b"").decode("latin-1"))
        who = verify(self.settings.jwt_key, token)
        try:
            if self.sockets.get(who.tenant, 0) >= self.settings.tenant_sockets:
                raise Problem("too_many_sockets")
            if not await self.auth.is_open(token):
                raise TokenError("session closed")
        except Problem:
            self.auth.close_later(token)  # a session is for one socket, which it did not get
            raise
        return token, who

    def _gone(self, tenant: str, token: str) -> None:
        self.auth.close_later(token)
        self.sockets[tenant] -= 1
        if not self.sockets[tenant]:
            del self.sockets[tenant]


@dataclass(slots=True)
class Connection:
    """One open socket; many messages may be in flight on it."""

    gateway: Gateway
    who: Principal
    receive: Receive
    send: Send
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    open: bool = True
    paused_at: float = 0.0

    async def serve(self) -> None:
        """Read until the socket ends or the token does; then cancel what is still in flight."""
        loop = asyncio.get_running_loop()
        tally = self.gateway.rooms.admission.tally(self.who.tenant, loop.time())
        expiry = loop.call_later(_seconds_left(self.who), self._expire)
        try:
            while self.open:
                event = await self.receive()
                if event["type"] == "websocket.disconnect":
                    return
                text = event.get("text")
                if text is None:
                    await self.send({"type": "websocket.close", "code": BINARY})
                    return
                if refusal := self._taken(text, tally, loop):
                    await self._out(refusal)
                    await self._penalty(loop)
        finally:
            self.open = False
            expiry.cancel()
            for task in self.tasks:
                task.cancel()

    def _taken(self, text: str, tally: Tally, loop: asyncio.AbstractEventLoop) -> str | None:
        """Start work on a message, or the text of its refusal: cheapest checks first."""
        gateway, now = self.gateway, loop.time()
        if gateway.draining:
            return error(message_id_of(text), Problem("draining"))
        if problem := gateway.rooms.admission.arrive(tally, now):
            metrics.refused.inc()
            return error(message_id_of(text), problem)
        try:
            message = parse(text)
            if problem := _unaffordable(gateway.rooms.admission, tally, message, now):
                raise problem
        except Problem as problem:
            gateway.rooms.admission.leave(tally)
            counter = metrics.refused if problem.code == "over_budget" else metrics.bad
            counter.inc()
            return error(message_id_of(text), problem)
        task = loop.create_task(self._answered(message, tally, now))
        for tasks in (self.tasks, gateway.in_flight):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return None

    async def _penalty(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read from a refused tenant in bursts: a flood then costs fewer wake-ups."""
        if loop.time() - self.paused_at > BURST_SECONDS:
            await asyncio.sleep(PENALTY_SECONDS)
            self.paused_at = loop.time()

    async def _answered(self, message: UserMessage, tally: Tally, began: float) -> None:
        gateway, loop = self.gateway, asyncio.get_running_loop()
        until = began + _deadline_seconds(gateway.settings, message)
        turn = Turn(gateway.rooms, self.who.tenant, self.who.user, tally, message, until)
        message_id = message.metadata.message_id
        try:
            async with asyncio.timeout_at(until):
                await self._own(message, until)
                text = await turn.run()
            metrics.answered.inc()
            metrics.seconds.observe(loop.time() - began)
        except TimeoutError:
            text = error(message_id, Problem("deadline", definite=not turn.writing))
            metrics.failed.labels("deadline").inc()
        except Problem as problem:
            problem.definite = problem.definite or not turn.writing
            text = error(message_id, problem)
            metrics.failed.labels(problem.code).inc()
        except (asyncpg.PostgresError, LookupError, ValueError, TypeError) as bug:
            log.line("message_failed", error=type(bug).__name__, tenant=self.who.tenant)
            text = error(message_id, Problem("internal", definite=not turn.writing))
            metrics.failed.labels("internal").inc()
        finally:
            gateway.rooms.admission.leave(tally)
        await self._out(text)

    async def _own(self, message: UserMessage, until: float) -> None:
        """Refuse and audit a message that speaks for another tenant or user."""
        who, claimed = self.who, message.metadata.tenant_id
        if claimed == who.tenant and message.user_id == who.user:
            return
        metrics.foreign.inc()
        async with self.gateway.rooms.database.tenant_tx(who.tenant, until) as tx:
            detail = f"claimed tenant {claimed[:64]!r} user {message.user_id[:64]!r}"
            await tx.execute(AUDIT, who.tenant, who.user, "wrong_tenant", detail)
        raise Problem("wrong_tenant")

    async def _out(self, text: str) -> None:
        if not self.open:
            return
        try:
            await self.send({"type": "websocket.send", "text": text})
        except OSError:  # uvicorn's ClientDisconnected: nobody is there to be told
            self.open = False

    def _expire(self) -> None:
        task = asyncio.get_running_loop().create_task(self._close(EXPIRED))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _close(self, code: int) -> None:
        if self.open:
            await self.send({"type": "websocket.close", "code": code})


def _unaffordable(
    admission: Admission, tally: Tally, message: UserMessage, now: float
) -> Problem | None:
    """Refuse work that the tenant's budget cannot pay before anything is done for it."""
    action = message.metadata.action
    if not isinstance(action, Work):
        return None
    kind = "database" if action.work == "query" else "cpu"
    return admission.afford(tally, kind, action.amount_ms, now)


def _seconds_left(who: Principal) -> float:
    return max(0.0, who.expires + LEEWAY_SECONDS - time.time())


def _deadline_seconds(settings: Backend, message: UserMessage) -> float:
    asked = message.metadata.deadline_ms or settings.message_deadline_ms
    return max(50, min(asked, settings.message_deadline_max_ms)) / 1000


def _status(reason: TokenError | Problem) -> int:
    return 401 if isinstance(reason, TokenError) else DENIED.get(reason.code, 403)


async def _deny(send: Send, status: int) -> None:
    await send({"type": "websocket.http.response.start", "status": status, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})
