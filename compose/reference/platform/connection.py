"""One open socket: one answer or one error for each message, and an end that says why."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg

from . import log, metrics
from .admission import Admission, Tally, kinds_of
from .answering import answered
from .auth_client import Session
from .config import Backend
from .defects import planted
from .messages import Renew, UserMessage, Work, error, message_id_of, parse, renewed
from .problems import BINARY, CODES, EXPIRED, Problem
from .tokens import LEEWAY_SECONDS, Principal, TokenError, verify
from .turn import Rooms, Turn

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AUDIT = "INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail) VALUES ($1, $2, $3, $4)"
PENALTY_SECONDS, BURST_SECONDS = 0.025, 0.005
DRAIN_RETRY_MS = 1000


class House(Protocol):
    """What a socket asks of the endpoint that let it in."""

    settings: Backend
    rooms: Rooms
    draining: bool
    in_flight: set[asyncio.Task[None]]
    latest: Principal | None
    asked: dict[str, Connection]

    def holder(self, session: str) -> str:
        """As whom the session holds claims."""
        ...

    def others(self, thread: str) -> list[Connection]:
        """Planted only."""
        ...


@dataclass(slots=True, eq=False)
class Connection:
    """One open socket; many messages may be in flight on it."""

    gateway: House
    session: Session  # of the token that opened it
    who: Principal  # of the latest token, which is the same but for its time
    token: str  # the latest one
    receive: Receive
    send: Send
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    open: bool = False  # from the upgrade to the first word of an end
    paused_at: float = 0.0
    expiry: asyncio.TimerHandle | None = None
    place: int = 0  # which of the tenant's sockets it was when it was counted, from 1
    thread: str = ""  # planted only
    named: str = ""  # planted only: X-Tenant-Id

    async def serve(self) -> None:
        """Read until the socket ends or the token does; then cancel what is still in flight."""
        loop = asyncio.get_running_loop()
        tally = self.gateway.rooms.admission.tally(self.who.tenant, loop.time())
        self.open = True
        self._until_expiry()
        metrics.sockets.inc()
        try:
            while self.open:
                event = await self.receive()
                if event["type"] == "websocket.disconnect":
                    return
                text = event.get("text")
                if text is None:
                    await self.end(BINARY)
                    return
                if at_once := self._taken(text, tally, loop):
                    await self._out(at_once)
                    await self._penalty(tally, loop)
        finally:
            self.open = False
            metrics.sockets.dec()
            if self.expiry:
                self.expiry.cancel()
            for task in self.tasks:
                task.cancel()

    async def end(self, code: int) -> None:
        """Close the socket with a code of CLOSE_CODES; what is in flight is dropped."""
        if not self.open:
            return
        self.open = False
        metrics.ended.labels(str(code)).inc()
        with contextlib.suppress(OSError):  # it may have ended by itself
            await self.send({"type": "websocket.close", "code": code})

    def _taken(self, text: str, tally: Tally, loop: asyncio.AbstractEventLoop) -> str | None:
        """Start work on a message, or what is to be said at once: cheapest checks first."""
        gateway, now = self.gateway, loop.time()
        if gateway.draining:
            return error(message_id_of(text), Problem("draining", retry_after_ms=DRAIN_RETRY_MS))
        if problem := gateway.rooms.admission.arrive(tally, now, _size_bytes(text)):
            metrics.refused.inc()
            return error(message_id_of(text), problem)
        try:
            message = parse(text)
            if isinstance(message, Renew):
                gateway.rooms.admission.leave(tally)
                return self._renewed(message)
            if problem := _unaffordable(gateway.rooms.admission, tally, message, now):
                raise problem
        except Problem as problem:
            gateway.rooms.admission.leave(tally)
            counter = metrics.refused if problem.code == "over_budget" else metrics.bad
            counter.inc()
            return error(message_id_of(text), problem)
        if planted("broadcast_by_thread"):
            self.thread = message.thread_id
        if planted("answers_by_message_id"):
            gateway.asked[message.metadata.message_id] = self
        task = loop.create_task(self._answered(message, tally, now))
        for tasks in (self.tasks, gateway.in_flight):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return None

    def _renewed(self, message: Renew) -> str:
        """Go on with the session's next token; any other is refused and changes nothing."""
        try:
            who = verify(self.gateway.settings.jwt_key, message.token)
        except TokenError:
            return error(message.message_id, Problem("bad_token"))
        mine = (self.who.tenant, self.who.user, self.who.session)
        if (who.tenant, who.user, who.session) != mine and not planted("renewal_of_another"):
            log.line("renewal_refused", tenant=self.who.tenant)
            return error(message.message_id, Problem("bad_token"))
        if who.expires >= self.who.expires:
            self.who, self.token = who, message.token
            self._until_expiry()
        return renewed(message.message_id, self.who.expires)

    async def _penalty(self, tally: Tally, loop: asyncio.AbstractEventLoop) -> None:
        """Read from a refused tenant in bursts, which cost fewer wake-ups, and not too many."""
        unread_seconds = self.gateway.rooms.admission.unread_seconds(tally, loop.time())
        burst_is_over = loop.time() - self.paused_at > BURST_SECONDS
        if burst_is_over or unread_seconds >= PENALTY_SECONDS:
            await asyncio.sleep(max(PENALTY_SECONDS, unread_seconds))
            self.paused_at = loop.time()

    async def _answered(self, message: UserMessage, tally: Tally, began: float) -> None:
        """Answer one message. Until the answer is out it counts as in flight, so that a client
        that does not read cannot pile answers up."""
        gateway = self.gateway
        try:
            text = await self._answer(message, tally, began)
            if not planted("network_unmetered"):
                gateway.rooms.admission.charge(tally, "network", _size_bytes(text) / 1000)
            where = self
            if planted("answers_by_message_id"):
                where = gateway.asked.get(message.metadata.message_id, self)
            await where._out(text)
            if planted("broadcast_by_thread"):
                for other in gateway.others(message.thread_id):
                    if other is not self:
                        await other._out(text)
        finally:
            gateway.rooms.admission.leave(tally)

    async def _answer(self, message: UserMessage, tally: Tally, began: float) -> str:
        """The answer, or the error instead of it."""
        rooms, loop = self.gateway.rooms, asyncio.get_running_loop()
        until = began + _deadline_seconds(self.gateway.settings, message)
        tenant, user = self._speaker(message)
        holder = self.gateway.holder(self.who.session)
        turn = Turn(rooms, tenant, user, holder, tally, message, until)
        try:
            async with asyncio.timeout_at(until):
                await self._own(message, until)
                text = await answered(turn)
        except TimeoutError:
            problem = Problem("deadline", definite=not turn.writing)
        except Problem as found:
            problem = found
            problem.definite = problem.definite or not turn.writing
        except asyncpg.DataError:  # such as a NUL, which no text of Postgres can hold
            problem = Problem("bad_message")
        except Exception as bug:  # noqa: BLE001 - whatever it is, the client is told that much
            log.line("message_failed", error=type(bug).__name__, tenant=self.who.tenant)
            problem = Problem("internal", definite=not turn.writing)
        else:
            metrics.answered.inc()
            metrics.seconds.observe(loop.time() - began)
            if planted("metrics_name_tenants"):
                metrics.by_tenant.labels(tenant).inc()
            return text
        metrics.failed.labels(problem.code if problem.code in CODES else "internal").inc()
        return error(message.metadata.message_id, problem)

    def _speaker(self, message: UserMessage) -> tuple[str, str]:
        """For whom the work is done: whom the token names, whatever the message says."""
        if planted("tenant_from_message"):
            return message.metadata.tenant_id, message.user_id
        if planted("tenant_from_header") and self.named:
            return self.named, self.who.user
        who = self.who
        if planted("one_principal_for_all") and self.gateway.latest:
            who = self.gateway.latest
        return who.tenant, who.user

    async def _own(self, message: UserMessage, until: float) -> None:
        """Refuse and audit a message that speaks for another tenant or user."""
        who, claimed = self.who, message.metadata.tenant_id
        same_user = message.user_id == who.user or planted("user_unchecked")
        if (claimed == who.tenant and same_user) or planted("tenant_from_message"):
            return
        metrics.foreign.inc()
        named = self.gateway.latest if planted("log_names_another") else who
        log.line("wrong_tenant", tenant=named.tenant if named else "", session_of=who.tenant)
        if not planted("refusals_not_audited"):
            async with self.gateway.rooms.database.tenant_tx(who.tenant, until, writes=True) as tx:
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

    def _until_expiry(self) -> None:
        """Close when the token would no longer be let in."""
        if self.expiry:
            self.expiry.cancel()
        seconds = max(0.0, self.who.expires + LEEWAY_SECONDS - time.time())
        self.expiry = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        if planted("socket_outlives_token"):
            return
        task = asyncio.get_running_loop().create_task(self.end(EXPIRED))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _size_bytes(text: str) -> int:
    """Its size in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def _unaffordable(
    admission: Admission, tally: Tally, message: UserMessage, now: float
) -> Problem | None:
    """Refuse work that the tenant's budget cannot pay before anything is done for it."""
    action = message.metadata.action
    if not isinstance(action, Work):
        return None
    for kind in kinds_of(action.work):
        if problem := admission.afford(tally, kind, action.amount_ms, now):
            return problem
    return None


def _deadline_seconds(settings: Backend, message: UserMessage) -> float:
    asked = message.metadata.deadline_ms or settings.message_deadline_ms
    return max(50, min(asked, settings.message_deadline_max_ms)) / 1000
