"""What stands before the replicas of the backend: a connection goes to the next that answers.

It moves bytes and knows nothing of them. UPSTREAMS names the replicas (`host:port`, comma list).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os

PORT = 8000
CONNECT_SECONDS = 1.0
CHUNK_BYTES = 65536

Address = tuple[str, int]


class Front:
    """Round robin over the replicas, skipping those that do not take the connection."""

    def __init__(self, upstreams: list[Address]) -> None:
        self._upstreams, self._turn = upstreams, itertools.count()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its start to its end."""
        try:
            there = await self._connected()
        except OSError:
            writer.transport.abort()
            return
        far_reader, far_writer = there
        moving = [
            asyncio.ensure_future(_moved(reader, far_writer)),
            asyncio.ensure_future(_moved(far_reader, writer)),
        ]
        try:
            await asyncio.wait(moving, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in moving:
                task.cancel()
            for each in (writer, far_writer):
                each.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The next replica that answers. Raises OSError when none does."""
        first = next(self._turn)
        for n in range(len(self._upstreams)):
            host, port = self._upstreams[(first + n) % len(self._upstreams)]
            with contextlib.suppress(OSError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(host, port)
        raise ConnectionRefusedError("no replica answers")


async def _moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


def upstreams(text: str) -> list[Address]:
    """`host:port,host:port` as addresses. Raises ValueError."""
    pairs = [each.strip().rpartition(":") for each in text.split(",")]
    return [(host, int(port)) for host, _, port in pairs]


async def main() -> None:
    """Serve for ever."""
    front = Front(upstreams(os.environ["UPSTREAMS"]))
    server = await asyncio.start_server(front.serve, "0.0.0.0", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
