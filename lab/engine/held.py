# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""A process inside a container that holds something, and undoes it when it has to.

It undoes on SIGTERM, from whatever process that comes; and when its standard input ends, which is
when this end is closed or the process that has it is gone, however it died.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

from lab.engine.api import Engine, told
from lab.errors import LabError

HELD = "held"

HOLD = f"""
exec 3<&0
trap 'exit 0' TERM
trap 'trap "" TERM; eval "$2"; kill 0' EXIT
eval "$1" || exit 1
echo {HELD}
cat <&3 >/dev/null &
wait $!
"""
"""$0: the name it is found by; $1: what to do; $2: what undoes it, in the same shell.

A process that the engine starts is the leader of its own group, so `kill 0` ends what it began.
"""


class Closing(Protocol):
    """What docker-py wraps around a connection, and closes it when it is collected."""

    def close(self) -> None:
        """As files do."""
        ...


class Wire:
    """The other end of a held process's standard input and output."""

    def __init__(self, connection: socket.socket, owners: Sequence[Closing]) -> None:
        self._connection, self._owners = connection, owners
        self._heard = b""

    def held(self, seconds: float) -> bool:
        """Whether it says within `seconds` that it holds; False: it ended instead. Blocking.

        Raises LabError when it said nothing in time.
        """
        self._connection.settimeout(seconds)
        mark = f"{HELD}\n".encode()
        try:
            while mark not in self._heard:
                piece = self._connection.recv(4096)
                if not piece:
                    return False
                self._heard += piece
        except TimeoutError as late:
            raise LabError(f"not in place after {seconds:g} s") from late
        return True

    def words(self) -> str:
        """The first line it said about an error, or else its last one; does not wait."""
        self._connection.setblocking(False)
        with suppress(OSError):  # nothing more, or closed
            self._heard += self._connection.recv(65_536)
        # the engine puts eight bytes before every piece of output, with NULs among them
        lines = [line[line.rfind(b"\0") + 1 :] for line in self._heard.splitlines()]
        texts = [line.decode(errors="replace").strip() for line in lines]
        told = [text for text in texts if text.isprintable() and text]
        return next((text for text in told if "ERROR" in text), told[-1] if told else "")

    def close(self) -> None:
        """End its standard input, which makes it undo what it holds."""
        with suppress(OSError):  # the other side was faster
            self._connection.shutdown(socket.SHUT_RDWR)
        for each in (*self._owners, self._connection):
            each.close()


def begun(engine: Engine, container: str, words: Sequence[str]) -> Wire:
    """Start `HOLD` with these words in a container. Raises LabError when it does not run."""

    def work() -> object:
        made = engine.client.exec_create(container, ["sh", "-c", HOLD, *words], stdin=True)
        return engine.client.exec_start(made["Id"], socket=True)

    opened = told(work)
    connection = getattr(opened, "_sock", None)
    if not isinstance(connection, socket.socket):
        raise LabError("the engine gave no connection to a process", where=container)
    owners = (getattr(opened, "_response", opened), opened)
    return Wire(connection, cast("tuple[Closing, ...]", owners))
