"""Agents that live in containers of their own and dial in: the port where they do, and their lines.

An agent says whose it is, and proves it: its secret is HMAC-SHA256 of its tenant under a key that
only whoever starts the containers and this backend have. A line waits until its tenant is there.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, field

import msgspec

from . import log
from .conversation import PACKET_MAX, Conversation
from .problems import Problem

PORT = 8002
HELLO_SECONDS = 5.0


class Hello(msgspec.Struct):
    """The first packet of an agent."""

    tenant: str
    secret: str


_hello = msgspec.json.Decoder(Hello).decode


@dataclass
class AgentPort:
    """Where agents dial in; `start` takes the line of a tenant, and waits for it if need be."""

    key: str
    _lines: dict[str, AgentLine] = field(default_factory=dict)
    _wanted: dict[str, asyncio.Future[AgentLine]] = field(default_factory=dict)
    _server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Open the port on all addresses of the container; networks decide who gets there."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: AgentLine(self), "0.0.0.0", PORT)

    def close(self) -> None:
        """No more agents; those that wait dial again, elsewhere or later."""
        if self._server is not None:
            self._server.close()
        for line in list(self._lines.values()):
            line.hang_up()

    async def start(self, tenant: str) -> AgentLine:
        """The tenant's line, from now on its owner's. One caller at a time for each tenant.

        A caller that is cancelled as the line comes hangs it up: nobody else knows of it.
        """
        while (line := self._lines.pop(tenant, None)) is None or not line.alive:
            wanted = self._wanted[tenant] = asyncio.get_running_loop().create_future()
            try:
                return await wanted
            except asyncio.CancelledError:
                if not wanted.cancelled():
                    wanted.result().hang_up()
                raise
            finally:
                self._wanted.pop(tenant, None)
        return line

    def admitted(self, line: AgentLine, hello: Hello) -> bool:
        """Take in a line that proves whose it is; it replaces an older one that waits."""
        proof = hmac.new(self.key.encode(), hello.tenant.encode(), "sha256").hexdigest()
        if not hmac.compare_digest(proof.encode(), hello.secret.encode()):
            log.line("agent_refused", tenant=hello.tenant[:40])
            return False
        wanted = self._wanted.get(hello.tenant)
        if wanted is not None and not wanted.done():
            wanted.set_result(line)
            return True
        older, self._lines[hello.tenant] = self._lines.get(hello.tenant), line
        if older is not None:
            older.hang_up()
        return True

    def lost(self, line: AgentLine) -> None:
        """Forget a line that waited and has ended."""
        if self._lines.get(line.tenant) is line:
            del self._lines[line.tenant]


class AgentLine(Conversation, asyncio.Protocol):
    """One agent's connection: packets that each follow their length."""

    def __init__(self, port: AgentPort) -> None:
        super().__init__()
        self._port, self._data = port, bytearray()
        self._transport: asyncio.Transport | None = None
        self.tenant = ""

    async def stop(self) -> None:
        """Hang up: the agent wipes itself and dials again."""
        self.hang_up()
        await self.gone.wait()

    def hang_up(self) -> None:
        """End the connection, at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._silent = asyncio.get_running_loop().call_later(HELLO_SECONDS, self.hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._silent.cancel()
        self._ended()
        self._port.lost(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= 4:
            size = int.from_bytes(self._data[:4], "big")
            if size > PACKET_MAX:
                self.hang_up()
                return
            if len(self._data) < 4 + size:
                return
            packet = bytes(self._data[4 : 4 + size])
            del self._data[: 4 + size]
            if self.tenant:
                self._heard(packet)
            else:
                self._introduced(packet)

    def _introduced(self, packet: bytes) -> None:
        self._silent.cancel()
        try:
            hello = _hello(packet)
        except (msgspec.DecodeError, msgspec.ValidationError):
            self.hang_up()
            return
        self.tenant = hello.tenant
        if not self._port.admitted(self, hello):
            self.hang_up()

    def _send(self, packet: bytes) -> None:
        if self._transport is None or not self.alive:
            raise Problem("agent_crashed")
        self._transport.write(len(packet).to_bytes(4, "big") + packet)

    def _hang_up(self) -> None:
        self.hang_up()
