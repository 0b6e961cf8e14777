"""A process inside a container that holds something, and undoes it when it has to.

It undoes on SIGTERM, from whatever process that comes; and when its standard input ends, which is
when this end is closed or the process that has it is gone, however it died.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from lab.engine.api import Engine
from lab.engine.pipe import Pipe, opened, unframed
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


class Wire:
    """The other end of a held process's standard input and output."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe, self._raw = pipe, b""

    def held(self, seconds: float) -> bool:
        """Whether it says within `seconds` that it holds; False: it ended instead. Blocking.

        Raises LabError when it said nothing in time.
        """
        self._pipe.connection.settimeout(seconds)
        mark = f"{HELD}\n".encode()
        try:
            while mark not in unframed(self._raw)[0]:
                piece = self._pipe.connection.recv(4096)
                if not piece:
                    return False
                self._raw += piece
        except TimeoutError as late:
            raise LabError(f"not in place after {seconds:g} s") from late
        return True

    def words(self) -> str:
        """The first line it said about an error, or else its last one; does not wait."""
        self._pipe.connection.setblocking(False)
        with suppress(OSError):  # nothing more, or closed
            self._raw += self._pipe.connection.recv(65_536)
        lines = unframed(self._raw)[0].decode(errors="replace").splitlines()
        told = [text for line in lines if (text := line.strip())]
        return next((text for text in told if "ERROR" in text), told[-1] if told else "")

    def close(self) -> None:
        """End its standard input, which makes it undo what it holds."""
        self._pipe.close()


def begun(engine: Engine, container: str, words: Sequence[str]) -> Wire:
    """Start `HOLD` with these words in a container. Raises LabError when it does not run."""
    return Wire(opened(engine, container, ["sh", "-c", HOLD, *words]))
