"""The default client: the protocol of `websockets` (its Sans-I/O layer) on an asyncio transport.

Without the queue, the reader task and the locks of the library's own asyncio client, whose work a
driver with callbacks does not need, a round trip costs about half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from lab.transport.ends import Ends
from lab.transport.socket import (
    CONNECT_SECONDS,
    MESSAGE_BYTES_MAX,
    ClosedError,
    Hear,
    Lose,
    Socket,
    UpgradeError,
)


async def connected(url: str, headers: Mapping[str, str], hear: Hear, lose: Lose) -> Socket:
    """See lab.transport.connect."""
    uri = parse_uri(url)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        _, connection = await loop.create_connection(
            lambda: _Connection(uri, headers, hear, lose),
            uri.host,
            uri.port,
            ssl=uri.secure or None,
        )
        try:
            await connection.opened
        except BaseException:
            connection.abort()
            raise
    return connection


class _Connection(Ends, asyncio.Protocol):
    """One connection, from its handshake on."""

    def __init__(
        self, uri: WebSocketURI, headers: Mapping[str, str], hear: Hear, lose: Lose
    ) -> None:
        super().__init__(hear, lose)
        self._protocol = ClientProtocol(uri, max_size=MESSAGE_BYTES_MAX)
        self._headers = headers
        self._transport: asyncio.Transport
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(_seen)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast(asyncio.Transport, transport)
        request = self._protocol.connect()
        request.headers.update(self._headers)
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take all frames that are complete."""
        self._protocol.receive_data(data)
        self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
            else:
                self._shake_hands()
        if self._protocol.state is not State.OPEN:
            self._look_closed()

    def eof_received(self) -> None:
        """The server hung up."""
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is no more."""
        if not self.opened.done():
            self.opened.set_exception(UpgradeError(0, f"no answer {exc or ''}".rstrip()))
        self._look_closed()
        self.disconnected()

    def send(self, message: str | bytes) -> None:
        """See Socket."""
        if self.closed is not None:
            raise self.closed
        if self._protocol.state is not State.OPEN:
            raise ClosedError(reason="by our own close")
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    def send_close(self, code: int, reason: str) -> None:
        """See Ends."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()

    def abort(self) -> None:
        """See Socket."""
        self._transport.abort()

    def _take(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            take = self.deliver if frame.fin else self.begin
            take(bytes(frame.data), opcode is Opcode.TEXT)
        elif opcode is Opcode.CONT:
            self.go_on(bytes(frame.data), frame.fin)

    def _shake_hands(self) -> None:
        """The answer to the handshake is there; who asked may have given up."""
        if self.opened.done():
            return
        match self._protocol.handshake_exc:
            case None:
                self.opened.set_result(None)
            case InvalidStatus(response=response):
                self.opened.set_exception(UpgradeError(response.status_code))
            case error:
                self.opened.set_exception(UpgradeError(0, str(error)))

    def _look_closed(self) -> None:
        """Tell the end, once there is a reason: the server's Close frame, or a broken protocol."""
        protocol = self._protocol
        if (theirs := protocol.close_rcvd) is not None:
            self.end(ClosedError(int(theirs.code), theirs.reason))
        elif (ours := protocol.close_sent) is not None and protocol.parser_exc is not None:
            self.end(ClosedError(int(ours.code), ours.reason))

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()


def _seen(opened: asyncio.Future[None]) -> None:
    """Who asked may have given up: then nobody else looks at how it failed."""
    if not opened.cancelled():
        opened.exception()
