# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""A command that runs on inside a container, and what it writes, read without ever waiting.

It ends when its standard input does: when this end is closed, or the process that has it is gone.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import cast

from lab.engine.api import Engine, told
from lab.engine.held import Closing
from lab.errors import LabError

RUN = """
exec 3<&0
trap 'trap "" TERM; kill 0' EXIT
(eval "$0") </dev/null &
cat <&3 >/dev/null
"""
"""$0: the command. A process that the engine starts leads its own group: `kill 0` ends them all."""

_HEAD = 8
"""The engine puts eight bytes before every piece of output; the last four are its length."""


class Stream:
    """The lines of one running command."""

    def __init__(self, connection: socket.socket, owners: tuple[Closing, ...]) -> None:
        self._connection, self._owners = connection, owners
        connection.setblocking(False)
        self._raw, self._text = b"", b""

    def lines(self) -> list[str]:
        """The lines that have come since the last call. Raises ProcessLookupError at its end."""
        ended = False
        with suppress(BlockingIOError):
            while not ended:
                piece = self._connection.recv(65_536)
                self._raw += piece
                ended = not piece
        if ended and not self._raw:
            raise ProcessLookupError("the command has ended")
        while len(self._raw) >= _HEAD:
            size = int.from_bytes(self._raw[4:_HEAD], "big")
            if len(self._raw) < _HEAD + size:
                break
            self._text += self._raw[_HEAD : _HEAD + size]
            self._raw = self._raw[_HEAD + size :]
        *whole, self._text = self._text.split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def close(self) -> None:
        """End its standard input, and with that the command."""
        with suppress(OSError):  # the other side was faster
            self._connection.shutdown(socket.SHUT_RDWR)
        for each in (*self._owners, self._connection):
            each.close()


def streamed(engine: Engine, container: str, command: str) -> Stream:
    """Start a shell command in a container. Raises LabError when it does not start."""

    def work() -> object:
        made = engine.client.exec_create(container, ["sh", "-c", RUN, command], stdin=True)
        return engine.client.exec_start(made["Id"], socket=True)

    opened = told(work)
    connection = getattr(opened, "_sock", None)
    if not isinstance(connection, socket.socket):
        raise LabError("the engine gave no connection to a process", where=container)
    owners = (getattr(opened, "_response", opened), opened)
    return Stream(connection, cast("tuple[Closing, ...]", owners))
