"""A tiny WebSocket backend on 127.0.0.1, in this process, whose manners a test changes as it likes.

    async with fake_backend() as backend:
        backend.manners.silent = frozenset({"work"})
        ... Site: backend.site; driver file: backend.driver_file

Real sockets and a real protocol, so that a load generator in another process can use it. Messages
of a connection are answered in order, `Work` excepted, which takes its time beside the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import msgspec
from anyio import sleep
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from lab.system import Census, Endpoint, Site

DRIVER_FILE = Path(__file__).with_name("driver.py")


class Asked(msgspec.Struct):
    """One request: the operation's id, the action's name and its fields."""

    op: str
    action: str
    fields: dict[str, str | int] = {}


class Answered(msgspec.Struct, omit_defaults=True):
    """One answer; `refused` says why not."""

    op: str
    value: str | None = None
    items: dict[str, str] = {}
    refused: str = ""


@dataclass
class Manners:
    """How the backend behaves from now on. Sets hold names of actions, as in `write`.

    delay_ms: before each answer; refuse: a definite no; silent: never answered; hang_up: the
    connection is dropped instead of an answer; shut: no new connection (503).
    """

    delay_ms: float = 0.0
    refuse: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    hang_up: frozenset[str] = frozenset()
    shut: bool = False


@dataclass
class FakeBackend:
    """State and address of a running fake backend."""

    manners: Manners = field(default_factory=Manners)
    tenants: set[str] = field(default_factory=set[str])
    rows: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    seen: Counter[str] = field(default_factory=Counter[str])
    sessions: dict[str, set[ServerConnection]] = field(
        default_factory=dict[str, set[ServerConnection]]
    )
    port: int = 0
    driver_file: Path = DRIVER_FILE
    _awake: asyncio.Event = field(default_factory=asyncio.Event)
    _working: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    @property
    def site(self) -> Site:
        """Where a driver finds it."""
        return self.site_with()

    def site_with(self, **variables: str) -> Site:
        """The same, with variables for the fake driver (see its docstring)."""
        return Site({("client", ""): Endpoint("127.0.0.1", self.port)}, {}, variables)

    def freeze(self) -> None:
        """Answer nothing until `thaw`; requests queue up."""
        self._awake.clear()

    def thaw(self) -> None:
        """Answer again, what queued up first."""
        self._awake.set()

    async def stutter(self, frozen_seconds: float, every_seconds: float) -> None:
        """Freeze for a while, again and again, until cancelled."""
        while True:
            await sleep(every_seconds - frozen_seconds)
            self.freeze()
            await sleep(frozen_seconds)
            self.thaw()

    def drop(self, tenant: str) -> None:
        """Cut all of a tenant's connections, without a goodbye."""
        for session in tuple(self.sessions.get(tenant, ())):
            session.transport.abort()

    def stop_working(self) -> None:
        """Leave all work undone."""
        for late in self._working:
            late.cancel()

    def census(self) -> Census:
        """What tenants hold now."""
        sessions = (
            f"{name}-{n}"
            for name, held in self.sessions.items()
            if name != "admin"
            for n in range(len(held))
        )
        return {
            "tenants": tuple(sorted(self.tenants)),
            "rows": tuple(sorted("/".join(row) for row in self.rows)),
            "sessions": tuple(sorted(sessions)),
        }

    async def accept(self, connection: ServerConnection) -> None:
        """Serve one connection; its path is the tenant's id, or `admin`."""
        assert connection.request is not None
        tenant = connection.request.path.strip("/")
        held = self.sessions.setdefault(tenant, set())
        held.add(connection)
        try:
            async for text in connection:
                await self._serve(connection, tenant, msgspec.json.decode(text, type=Asked))
        except ConnectionClosed:
            pass  # a client that drops its connection is a client's good right
        finally:
            held.discard(connection)

    async def _serve(self, connection: ServerConnection, tenant: str, asked: Asked) -> None:
        manners = self.manners
        self.seen[asked.action] += 1
        if asked.action in manners.hang_up:
            connection.transport.abort()
            return
        if asked.action in manners.silent:
            return
        await self._awake.wait()
        if asked.action == "work":
            seconds = int(asked.fields["amount_ms"]) / 1e3
            late = asyncio.create_task(self._late(connection, Answered(asked.op), seconds))
            self._working.add(late)
            late.add_done_callback(self._working.discard)
            return
        if manners.delay_ms:
            await sleep(manners.delay_ms / 1e3)
        refused = asked.action in manners.refuse
        answer = Answered(asked.op, refused="not now") if refused else self._done(tenant, asked)
        await connection.send(msgspec.json.encode(answer).decode())

    async def _late(self, connection: ServerConnection, answer: Answered, seconds: float) -> None:
        await sleep(seconds)
        with suppress(ConnectionClosed):  # nobody waits for it any more
            await connection.send(msgspec.json.encode(answer).decode())

    def _done(self, tenant: str, asked: Asked) -> Answered:
        """Do what was asked, at once."""
        key = str(asked.fields.get("key", ""))
        own = {k: v for (owner, k), v in self.rows.items() if owner == tenant}
        match asked.action:
            case "write":
                self.rows[tenant, key] = str(asked.fields["value"])
            case "read":
                return Answered(asked.op, value=self.rows.get((tenant, key)))
            case "list":
                return Answered(asked.op, items=own)
            case "provision":
                self.tenants.add(key)
            case "retire":
                self.tenants.discard(key)
                self._forget(key, [k for owner, k in self.rows if owner == key])
            case "census":
                return Answered(asked.op, value=msgspec.json.encode(self.census()).decode())
            case _:
                return Answered(asked.op, refused=f"no such action: {asked.action}")
        return Answered(asked.op)

    def _forget(self, tenant: str, keys: Iterable[str]) -> None:
        for key in keys:
            del self.rows[tenant, key]


@asynccontextmanager
async def fake_backend() -> AsyncGenerator[FakeBackend]:
    """A backend that answers at once, until the block is left."""
    backend = FakeBackend()
    backend.thaw()

    def gate(connection: ServerConnection, request: Request) -> Response | None:
        shut = backend.manners.shut and request.path != "/admin"
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "shut\n") if shut else None

    async with serve(
        backend.accept,
        "127.0.0.1",
        0,
        process_request=gate,
        compression=None,
        ping_interval=None,
        close_timeout=1,
    ) as server:
        backend.port = _port(server)
        try:
            yield backend
        finally:
            backend.thaw()
            backend.stop_working()


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])
