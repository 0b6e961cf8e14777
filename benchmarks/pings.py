"""What benchmarks/precision.py measures with: round trips to a Redis, timed in a process apart.

Everything is on the system's monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
BURST, PAUSE_SECONDS = 10, 0.005
"""What the load sends at a time, and how long it waits then: 2,000 requests a second."""
PACE_SECONDS = 0.02
"""How often a connection asks. As fast as it can it would ask more often where nothing delays it,
and what it waits for then is itself."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One round trip: when it was sent, and when it was answered."""

    sent_ns: int
    done_ns: int

    @property
    def ms(self) -> float:
        """How long it took."""
        return (self.done_ns - self.sent_ns) / 1e6


def trips(at: tuple[str, int], connections: int, count: int, seconds: float = 60.0) -> list[Trip]:
    """`count` round trips on each connection, paced, or as many as fit in."""
    found: list[Trip] = []

    async def one(number: int, until: float) -> None:
        reader, writer = await asyncio.open_connection(*at)
        due = time.monotonic() + PACE_SECONDS * number / connections
        for _ in range(count):
            await asyncio.sleep(due - time.monotonic())
            due = max(due + PACE_SECONDS, time.monotonic())
            sent_ns = time.monotonic_ns()
            writer.write(PING)
            await reader.readexactly(len(PONG))
            found.append(Trip(sent_ns, time.monotonic_ns()))
            if time.monotonic() > until:
                break
        writer.close()
        await writer.wait_closed()

    async def everyone() -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(one(number, until) for number in range(connections)))

    asyncio.run(everyone())
    return found


def watch(at: tuple[str, int], stop: Path, quick_ms: float) -> list[Trip]:
    """Round trips on one connection until the file `stop` is there, and a quick one after that."""
    found: list[Trip] = []
    with socket.create_connection(at, timeout=60) as wire:
        while not (found and found[-1].ms < quick_ms and stop.exists()):
            sent_ns = time.monotonic_ns()
            wire.sendall(PING)
            wire.recv(len(PONG))
            found.append(Trip(sent_ns, time.monotonic_ns()))
    return found


def rate_kbps(at: tuple[str, int], size_bytes: int) -> float:
    """Kilobytes a second at which one answer of this size comes back."""
    with socket.create_connection(at, timeout=60) as wire:
        wire.sendall(f"SETRANGE big {size_bytes - 1} x\r\n".encode())
        wire.recv(4096)
        began, got = time.monotonic(), 0
        wire.sendall(b"GET big\r\n")
        while got < size_bytes:
            got += len(wire.recv(65536))
        return got / 1000 / (time.monotonic() - began)


def flood(at: tuple[str, int]) -> None:
    """Requests at a steady pace, whoever answers when; until it is ended."""
    with socket.create_connection(at) as wire:
        wire.setblocking(False)
        while True:
            with suppress(BlockingIOError):  # held up, it offers less, as any client would
                wire.send(PING * BURST)
            try:
                while wire.recv(65536):
                    pass
            except BlockingIOError:
                time.sleep(PAUSE_SECONDS)
