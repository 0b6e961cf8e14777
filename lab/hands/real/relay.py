"""A relay between a tenant's client and an entrance, which can stop reading or speak out of turn.

A driver reads its sockets itself, so what a client does below the driver is done here: on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from lab.system import Endpoint, Site

PIECE = 4096


class Relay:
    """All connections through one local port to `entrance`."""

    def __init__(self, entrance: Endpoint) -> None:
        self._entrance = entrance
        self._reads = asyncio.Event()
        self._reads.set()
        self._servers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.endpoint = entrance

    async def start(self) -> asyncio.Server:
        """Listen on a free port of 127.0.0.1."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE)
        self.endpoint = Endpoint("127.0.0.1", int(server.sockets[0].getsockname()[1]))
        return server

    def deafen(self) -> None:
        """Read nothing any more that the system sends; its buffers fill up."""
        self._reads.clear()

    def speak(self, data: bytes) -> bool:
        """Put bytes into the newest connection; False when there is none."""
        while self._servers and self._servers[-1].is_closing():
            self._servers.pop()
        if self._servers:
            self._servers[-1].write(data)
        return bool(self._servers)

    def drop(self) -> None:
        """Reset every connection."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs every connection in a task"
        self._tasks.add(task)
        server: asyncio.StreamWriter | None = None
        try:
            answers, server = await asyncio.open_connection(
                self._entrance.host, self._entrance.port, limit=PIECE
            )
            self._servers.append(server)
            always = asyncio.Event()
            always.set()
            async with asyncio.TaskGroup() as both:
                both.create_task(_pumped(reader, server, always))
                both.create_task(_pumped(answers, writer, self._reads))
        except* (OSError, asyncio.CancelledError):  # one side is gone, or all is dropped
            pass
        finally:
            for end in (writer, server):
                if end is not None:
                    end.transport.abort()
            if server in self._servers:
                self._servers.remove(server)
            self._tasks.discard(task)


async def _pumped(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may: asyncio.Event
) -> None:
    """Pass on what comes until it ends, and then end both directions."""
    while True:
        piece = await reader.read(PIECE)
        if not piece:
            raise ConnectionResetError("one side has closed")
        await may.wait()
        writer.write(piece)
        await writer.drain()


@asynccontextmanager
async def relayed(site: Site) -> AsyncGenerator[tuple[Site, Mapping[tuple[str, str], Relay]]]:
    """The same site with a relay at every entrance, until the block is left."""
    relays = {key: Relay(at) for key, at in site.entrances.items()}
    servers: list[asyncio.Server] = []
    try:
        servers.extend([await relay.start() for relay in relays.values()])
        yield replace(site, entrances={k: r.endpoint for k, r in relays.items()}), relays
    finally:
        for server in servers:
            server.close()
        for relay in relays.values():
            relay.drop()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.gather(*(server.wait_closed() for server in servers))
