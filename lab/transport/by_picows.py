"""The fast client: `picows`, WebSocket frames in Cython, callbacks all the way.

It reads no compressed frame, and leaves fragments, the closing handshake and its time limit to its
user (lab/transport/ends.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from picows import (
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,  # pyright: ignore[reportUnknownVariableType]
)

from lab.transport.ends import Ends
from lab.transport.socket import (
    CONNECT_SECONDS,
    MESSAGE_BYTES_MAX,
    NO_CODE,
    NORMAL,
    ClosedError,
    Hear,
    Lose,
    Socket,
    UpgradeError,
)

READ_BUFFER_BYTES = 2_048
"""To begin with; it grows. The default of 16 KiB is most of a connection's memory."""

FRAME_BYTES_MAX = 16 * MESSAGE_BYTES_MAX
"""picows still delivers a frame that it finds too long, so the limit is kept by Ends.deliver."""

_log = logging.LoggerAdapter(logging.getLogger("picows"))
"""No plain Logger, of which picows would make a child for every connection."""


async def connected(url: str, headers: Mapping[str, str], hear: Hear, lose: Lose) -> Socket:
    """See lab.transport.connect."""
    connection = _Connection(hear, lose)
    try:
        await ws_connect(
            lambda _request, _response: connection,
            url,
            websocket_handshake_timeout=CONNECT_SECONDS,
            logger_name=_log,
            max_frame_size=FRAME_BYTES_MAX,
            extra_headers=headers,
            max_redirects=0,
            read_buffer_init_size=READ_BUFFER_BYTES,
            use_aiofastnet=False,  # which takes 4.6 KiB more a connection and is no faster
        )
    except WSHandshakeError as error:
        status = int(error.response.status) if error.response else 0
        raise UpgradeError(status, str(error)) from None
    return connection


class _Connection(Ends, WSListener):
    """One connection, once it is upgraded."""

    _transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is done."""
        self._transport = transport
        # picows keeps both sides' headers for good, 2 KiB that nobody reads again.
        transport.request.headers.clear()
        transport.response.headers.clear()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame; picows answers pings itself."""
        kind = frame.msg_type
        if kind == WSMsgType.TEXT or kind == WSMsgType.BINARY:
            take = self.deliver if frame.fin else self.begin
            take(frame.get_payload_as_bytes(), kind == WSMsgType.TEXT)
        elif kind == WSMsgType.CONTINUATION:
            self.go_on(frame.get_payload_as_bytes(), frame.fin)
        elif kind == WSMsgType.CLOSE:
            self._closed_by(frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The TCP connection is no more."""
        self.disconnected()

    def pause_writing(self) -> None:
        """Nobody waits: see Socket.send."""

    def resume_writing(self) -> None:
        """See pause_writing."""

    def send(self, message: str | bytes) -> None:
        """See Socket."""
        if self.closed is not None:
            raise self.closed
        if self._transport.is_close_frame_sent or self._transport.is_disconnected:
            raise ClosedError(reason="by our own close")
        kind = WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY
        self._transport.send(kind, message)

    def send_close(self, code: int, reason: str) -> None:
        """See Ends."""
        if not self._transport.is_close_frame_sent:
            # Any code will do, whatever its types say: 4000 and up are the application's.
            self._transport.send_close(code, reason)  # pyright: ignore[reportArgumentType]

    def abort(self) -> None:
        """See Socket."""
        self._transport.disconnect(graceful=False)

    def _closed_by(self, payload: bytes) -> None:
        """The server said goodbye, or answers ours."""
        code = int.from_bytes(payload[:2], "big") if payload else NO_CODE
        self.send_close(code if payload else NORMAL, "")
        self.end(ClosedError(code, payload[2:].decode(errors="replace")))
