"""What benchmarks/load.py plays against: an echo server, and the driver of its two ways in.

The server runs in a process of its own, answers WebSocket messages and HTTP requests as cheaply as
it can, and counts them: whoever made them, what was done is told by the side that did not do it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import aiohttp
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_create_server,  # pyright: ignore[reportUnknownVariableType]
)

from lab.actions import Action
from lab.echo import PADDING, EchoDriver, reads
from lab.system import Driver, Endpoint, Reply, Session, Site, Tenant

__all__ = ["PADDING", "Server", "driver", "reads", "serving"]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\n" + b'{"ok":true}'


class Server:
    """The running server, as the benchmark sees it."""

    def __init__(self, told: Connection) -> None:
        self._told = told
        self.websocket_port, self.http_port = told.recv()

    def answered(self) -> int:
        """How many messages and requests it has answered so far."""
        self._told.send(None)
        return int(self._told.recv())

    @property
    def websocket_url(self) -> str:
        """As any client wants it."""
        return f"ws://127.0.0.1:{self.websocket_port}/"

    @property
    def http_url(self) -> str:
        """As any client wants it."""
        return f"http://127.0.0.1:{self.http_port}/"

    @property
    def site(self) -> Site:
        """As the driver wants it."""
        doors = {"client": self.websocket_port, "http": self.http_port}
        return Site({(k, ""): Endpoint("127.0.0.1", port) for k, port in doors.items()}, {}, {})


@contextmanager
def serving() -> Generator[Server]:
    """A server until the block is left."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield Server(here)  # pyright: ignore[reportArgumentType]
    finally:
        process.kill()
        process.join()


class _Counted:
    answered = 0


class _WebSocket(WSListener):
    def __init__(self, counted: _Counted) -> None:
        self._counted = counted

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self._counted.answered += 1
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())


class _Http(asyncio.Protocol):
    def __init__(self, counted: _Counted) -> None:
        self._counted, self._rest = counted, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._counted.answered += len(whole)
        self._transport.write(ANSWER * len(whole))


def _serve(told: Connection) -> None:
    """Both servers on one loop, without end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counted = _Counted()

    def asked() -> None:
        told.recv()
        told.send(counted.answered)

    async def run() -> None:
        sockets = await ws_create_server(
            lambda _: _WebSocket(counted),
            "127.0.0.1",
            0,
            backlog=4_096,
            read_buffer_init_size=2_048,
        )
        loop = asyncio.get_running_loop()
        http = await loop.create_server(lambda: _Http(counted), "127.0.0.1", 0, backlog=4_096)
        told.send([server.sockets[0].getsockname()[1] for server in (sockets, http)])
        loop.add_reader(told.fileno(), asked)
        await loop.create_future()

    asyncio.run(run())


class HttpSession:
    """Asks over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """See Session."""
        async with asyncio.timeout(deadline_seconds), self._http.get(self._url) as response:
            return Reply(raw=await response.text())

    def overheard(self) -> Sequence[str]:
        """Nothing comes that was not asked for."""
        return ()

    async def close(self) -> None:
        """The connections are the driver's."""

    def abort(self) -> None:
        """The connections are the driver's."""


class WaysIn(EchoDriver):
    """Tenants of the cohort `http` use HTTP, all others a WebSocket."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._url = f"http://{site.entrance('http')}/"
        self._http: aiohttp.ClientSession | None = None

    async def connect(self, tenant: Tenant) -> Session:
        """See Driver."""
        if tenant.cohort != "http":
            return await super().connect(tenant)
        if self._http is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._http = aiohttp.ClientSession(connector=connector, trust_env=False)
        return HttpSession(self._http, self._url)

    async def close(self) -> None:
        """Close the pool of HTTP connections."""
        if self._http is not None:
            await self._http.close()


def driver(site: Site) -> Driver:
    """As in a stack file."""
    return WaysIn(site)
