"""The WebSocket `/ws`: who is let in, how many, and how they are seen off.

Before the upgrade a socket is refused with an HTTP status and `{"error": code}`; `problems.py` has
the codes, and those with which a socket closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from . import log, metrics, quota_store
from .auth_client import AuthClient, Session
from .config import Backend
from .connection import Connection, Event, Receive, Send
from .defects import planted
from .doorway import identified
from .problems import CODES, GOING, REVOKED, Problem
from .tokens import Principal, TokenError
from .turn import Rooms

WATCH_SECONDS = 0.4
"""How often auth is asked which sessions are over: a revocation is felt within a second."""
RETRY_MS, GOODBYE_SECONDS = 1000, 1.0


@dataclass(slots=True)
class Gateway:
    """The endpoint; a raw ASGI application, because every message goes through it."""

    settings: Backend
    rooms: Rooms
    auth: AuthClient
    draining: bool = False
    sockets: dict[str, int] = field(default_factory=dict)
    knocks: dict[str, int] = field(default_factory=dict)  # sockets ever asked for, by tenant
    connections: dict[Session, set[Connection]] = field(default_factory=dict)
    in_flight: set[asyncio.Task[None]] = field(default_factory=set)
    latest: Principal | None = None  # planted only
    asked: dict[str, Connection] = field(default_factory=dict)  # planted only

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one socket from its upgrade to its end."""
        await receive()  # websocket.connect
        try:
            if self.draining:
                raise Problem("draining", retry_after_ms=RETRY_MS)
            token, who = await identified(scope, self.settings, self.auth)
            connection = self._counted(who, token, receive, send)
        except (TokenError, Problem) as reason:
            await _deny(send, reason)
            return
        try:
            await self._welcome(connection)
        except (TokenError, Problem) as reason:
            self._gone(connection)
            await _deny(send, reason)
            return
        except BaseException:
            self._gone(connection)
            raise
        try:
            self.latest = who
            connection.named = dict(scope["headers"]).get(b"x-tenant-id", b"").decode("latin-1")
            await send({"type": "websocket.accept"})
            await connection.serve()
        finally:
            self._gone(connection)
            await asyncio.shield(self.rooms.agents.close(who.tenant))

    async def watch(self) -> None:
        """For ever: close the sockets whose session is over. While auth is down they stay open."""
        blind = False
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self.connections or planted("socket_outlives_revocation"):
                continue
            try:
                over = await self.auth.over(list(self.connections))
            except Problem:
                if not blind:
                    log.line("revocations_blind", reason="auth does not answer; open sockets go on")
                blind = True
            else:
                blind = False
                await self._end((c for s in over for c in self.connections.get(s, ())), REVOKED)
            metrics.blind.set(blind)

    async def drain(self) -> None:
        """Let nobody in, finish what is in flight within the limit, say good-bye to all."""
        self.draining = True
        if planted("no_drain"):
            return
        if self.in_flight:
            await asyncio.wait(self.in_flight, timeout=self.settings.drain_seconds)
        await self._end((c for some in self.connections.values() for c in some), GOING)

    def holder(self, session: str) -> str:
        """As whom the session holds claims: a replica renews and gives back those made by it."""
        return f"{session}@{self.settings.replica}" if self.settings.replica else session

    def others(self, thread: str) -> list[Connection]:
        """Planted only: everybody whose last message was in a thread of this name."""
        return [c for some in self.connections.values() for c in some if c.thread == thread]

    def _counted(self, who: Principal, token: str, receive: Receive, send: Send) -> Connection:
        """Count the socket in before anything is waited for, or raise Problem."""
        self.knocks[who.tenant] = self.knocks.get(who.tenant, 0) + 1
        limit = self.rooms.admission.quotas(who.tenant).sockets
        count = self.sockets.get(who.tenant, 0)
        full = count >= limit and not planted("sockets_unlimited")
        if full or sum(self.sockets.values()) >= self.settings.sockets_max:
            if (who.tenant, who.session) not in self.connections:
                self._session_over(token)  # a session that got no socket is of no use
            raise Problem("too_many_sockets" if full else "platform_full", retry_after_ms=RETRY_MS)
        self.sockets[who.tenant] = count + 1
        session = (who.tenant, who.session)
        connection = Connection(self, session, who, token, receive, send, place=count + 1)
        self.connections.setdefault(session, set()).add(connection)
        return connection

    async def _welcome(self, connection: Connection) -> None:
        """Make sure of the session, the quotas and the agent. Raises TokenError or Problem."""
        rooms, tenant = self.rooms, connection.who.tenant
        if not await self.auth.is_open(connection.token):
            raise TokenError("session closed")
        now = asyncio.get_running_loop().time()
        await quota_store.refresh(rooms.admission, rooms.database, tenant, now)
        limit = rooms.admission.quotas(tenant).sockets  # its own, which the first count lacked
        if connection.place > limit and not planted("sockets_unlimited"):
            raise Problem("too_many_sockets", retry_after_ms=RETRY_MS)
        await rooms.agents.open(tenant)

    def _gone(self, connection: Connection) -> None:
        """Count the socket out; with its last socket a session ends."""
        tenant, session = connection.session
        self.sockets[tenant] -= 1
        if not self.sockets[tenant]:
            del self.sockets[tenant]
        mates = self.connections[connection.session]
        mates.discard(connection)
        if not mates:
            del self.connections[connection.session]
            self.rooms.claims.release_later(tenant, self.holder(session))
            self._session_over(connection.token)

    def _session_over(self, token: str) -> None:
        """End a session without sockets. Where there are replicas another one may have some: there
        a session ends when it is logged out, or with its token."""
        if not self.settings.replica:
            self.auth.close_later(token)

    async def _end(self, connections: Iterable[Connection], code: int) -> None:
        """Close these sockets; one that does not take the close frame is not waited for."""
        ends = [asyncio.ensure_future(c.end(code)) for c in connections]
        if ends:
            await asyncio.wait(ends, timeout=GOODBYE_SECONDS)


async def _deny(send: Send, reason: TokenError | Problem) -> None:
    """Answer the upgrade with a status, the code, and when to try again."""
    problem = Problem("unauthorised") if isinstance(reason, TokenError) else reason
    metrics.denied.labels(problem.code).inc()
    log.line("socket_denied", code=problem.code, reason=str(reason))
    headers = [(b"content-type", b"application/json")]
    if problem.retry_after_ms:
        headers.append((b"retry-after", b"%d" % -(-problem.retry_after_ms // 1000)))
    status = CODES[problem.code].status
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    body = msgspec.json.encode({"error": problem.code})
    await send({"type": "websocket.http.response.body", "body": body})
