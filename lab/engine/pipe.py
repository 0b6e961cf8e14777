# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""A command inside a container, and the one connection that is its input and its output.

It goes on until it ends by itself or its standard input does: when this end is closed, or the
process that has it is gone, however it died.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from lab.engine.api import Engine, told
from lab.errors import LabError

_HEAD = 8
"""The engine puts eight bytes before every piece of output; the last four are its length."""


class Closing(Protocol):
    """What docker-py wraps around a connection, and closes it when it is collected."""

    def close(self) -> None:
        """As files do."""
        ...


@dataclass(frozen=True, slots=True)
class Pipe:
    """This end. owners: what has to stay for as long as the connection is used."""

    connection: socket.socket
    owners: Sequence[Closing]

    def close(self) -> None:
        """End the command's standard input."""
        with suppress(OSError):  # the other side was faster
            self.connection.shutdown(socket.SHUT_RDWR)
        for each in (*self.owners, self.connection):
            each.close()


def opened(engine: Engine, container: str, command: Sequence[str]) -> Pipe:
    """Start a command in a container. Raises LabError when it does not start."""

    def work() -> object:
        made = engine.client.exec_create(container, list(command), stdin=True)
        return engine.client.exec_start(made["Id"], socket=True)

    wrapped = told(work)
    connection = getattr(wrapped, "_sock", None)
    if not isinstance(connection, socket.socket):
        raise LabError("the engine gave no connection to a process", where=container)
    owners = (getattr(wrapped, "_response", wrapped), wrapped)
    return Pipe(connection, cast("tuple[Closing, ...]", owners))


def unframed(raw: bytes) -> tuple[bytes, bytes]:
    """The output in the whole pieces of `raw`, and what is there of the next piece."""
    text = b""
    while len(raw) >= _HEAD:
        end = _HEAD + int.from_bytes(raw[4:_HEAD], "big")
        if len(raw) < end:
            break
        text, raw = text + raw[_HEAD:end], raw[end:]
    return text, raw
