"""The one connection to a command in a container: what closes with it, and what it says."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest

from lab.engine.held import Wire
from lab.engine.pipe import Pipe
from lab.engine.stream import Stream


@dataclass
class Owner:
    """What docker-py wraps around a connection."""

    closed: int = 0

    def close(self) -> None:
        """Count it."""
        self.closed += 1


def pipe(*owners: Owner) -> tuple[Pipe, socket.socket]:
    """A pipe, and the command's end of it."""
    ours, theirs = socket.socketpair()
    return Pipe(ours, owners), theirs


def framed(text: bytes) -> bytes:
    """A piece of output, as the engine hands it on."""
    return b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize("gone", [False, True], ids=["it runs", "it has ended"])
def test_closing_ends_the_commands_input_and_gives_everything_back(gone: bool) -> None:
    wrapper, response = Owner(), Owner()
    ours, theirs = pipe(response, wrapper)
    if gone:
        theirs.close()
    ours.close()
    assert (response.closed, wrapper.closed, ours.connection.fileno()) == (1, 1, -1)
    if not gone:
        assert theirs.recv(1) == b""
        theirs.close()


def test_lines_come_whole_however_the_engine_cuts_them_and_then_the_end() -> None:
    ours, theirs = pipe()
    stream, sent = Stream(ours), framed(b"one\ntw") + framed(b"o\r\nthree")
    assert stream.lines() == []
    with theirs:
        theirs.sendall(sent[:10])
        assert stream.lines() == []
        theirs.sendall(sent[10:])
        assert stream.lines() == ["one", "two"]
    with pytest.raises(ProcessLookupError):
        stream.lines()
    stream.close()


def test_a_holder_says_that_it_holds_or_why_not() -> None:
    ours, theirs = pipe()
    with theirs:
        theirs.sendall(framed(b"warning: odd\n") + framed(b"held\n"))
        assert Wire(ours).held(1.0)
    ours.close()
    ours, theirs = pipe()
    with theirs:
        theirs.sendall(framed(b"warning: odd\n") + framed(b"ERROR: no such table\nbye\n"))
    wire = Wire(ours)
    assert not wire.held(1.0)
    assert wire.words() == "ERROR: no such table"
    wire.close()
