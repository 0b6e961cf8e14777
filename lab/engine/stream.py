"""A command that runs on inside a container, and what it writes, read without ever waiting.

It ends when its standard input does: when this end is closed, or the process that has it is gone.
"""

from __future__ import annotations

from contextlib import suppress

from lab.engine.api import Engine
from lab.engine.pipe import Pipe, opened, unframed

RUN = """
exec 3<&0
trap 'trap "" TERM; kill 0' EXIT
(eval "$0") </dev/null &
cat <&3 >/dev/null
"""
"""$0: the command. A process that the engine starts leads its own group: `kill 0` ends them all."""


class Stream:
    """The lines of one running command."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        pipe.connection.setblocking(False)
        self._raw, self._text = b"", b""

    def lines(self) -> list[str]:
        """The lines that have come since the last call. Raises ProcessLookupError at its end."""
        ended = False
        with suppress(BlockingIOError):
            while not ended:
                piece = self._pipe.connection.recv(65_536)
                self._raw += piece
                ended = not piece
        if ended and not self._raw:
            raise ProcessLookupError("the command has ended")
        text, self._raw = unframed(self._raw)
        self._text += text
        *whole, self._text = self._text.split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in whole]

    def close(self) -> None:
        """End its standard input, and with that the command."""
        self._pipe.close()


def streamed(engine: Engine, container: str, command: str) -> Stream:
    """Start a shell command in a container. Raises LabError when it does not start."""
    return Stream(opened(engine, container, ["sh", "-c", RUN, command]))
