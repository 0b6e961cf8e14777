"""Requests whose asker is dead, told by this kernel for sockets that are real."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lab.engine.orphans import orphans


def test_a_request_is_an_orphan_from_its_askers_death_until_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    host = f"unix://{path}"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as living:
        server.bind(str(path))
        server.listen()
        if orphans(host) is None:
            pytest.skip("this kernel has no unix_diag: the healer waits by the clock here")
        living.connect(str(path))
        assert orphans(host) == frozenset()
        with socket.socket(socket.AF_UNIX) as dying:
            dying.connect(str(path))
            dying.sendall(b"create something\n")
        server.accept()[0].close()  # the living one's
        taken, _ = server.accept()
        assert taken.recv(100) == b"create something\n"
        assert len(orphans(host) or ()) == 1
        taken.close()
        assert orphans(host) == frozenset()


def test_an_engine_that_is_reached_by_tcp_tells_nothing() -> None:
    assert orphans("tcp://127.0.0.1:2375") is None
