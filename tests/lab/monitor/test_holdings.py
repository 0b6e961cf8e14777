"""What a process holds is named: files, pipes, peers that have hung up; live TCP is no finding."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from lab.monitor import holdings
from lab.monitor.finding import arguments_of
from lab.procfs import started_ticks
from lab.resources import Kind, Source


def mine() -> tuple[str, ...]:
    """The descriptors of this very process, among all of its cgroup."""
    me = Source(Kind.CONTAINER, "app", "", os.getpid(), started_ticks(os.getpid()))
    own = arguments_of(os.getpid())

    def tenant(words: Sequence[str]) -> str | None:
        return "me" if tuple(words) == own else None

    found = holdings.of_processes({"app": me}, tenant)
    assert "app: agent of me" in found["processes"]
    return tuple(name for name in found["descriptors"] if name.startswith("app: agent of me: "))


def added(before: Sequence[str], after: Sequence[str]) -> list[str]:
    left = list(after)
    for name in before:
        left.remove(name)
    return [name.removeprefix("app: agent of me: ") for name in left]


def test_a_file_that_is_left_open_is_named_by_its_path(tmp_path: Path) -> None:
    before = mine()
    with (tmp_path / "kept").open("w"):
        assert added(before, mine()) == [str(tmp_path / "kept")]
    assert added(before, mine()) == []


def test_a_live_connection_is_no_finding_and_one_that_the_peer_has_left_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = mine()
        client = socket.create_connection(server.getsockname())
        port = client.getsockname()[1]
        there, _ = server.accept()
        with there:
            assert added(before, mine()) == []
            client.close()
            there.settimeout(5)
            assert there.recv(1) == b""  # the goodbye has come
            assert added(before, mine()) == [f"socket whose peer 127.0.0.1:{port} has hung up"]


def test_other_sockets_are_counted_too() -> None:
    before = mine()
    ends = socket.socketpair()
    assert added(before, mine()) == ["socket that is no TCP connection"] * 2
    for end in ends:
        end.close()


def test_a_connection_that_is_lent_is_named_by_what_its_session_did_last() -> None:
    sessions = [
        "server pid 9 app (idle): ROLLBACK",
        "server pid 10 app (idle): COMMIT",
        "server pid 11 app (idle in transaction): SELECT 1",
    ]
    lent = ["server pid 9 for t1-quiet-0", "server pid 77 for t1-quiet-1"]
    assert holdings.connections(lent, sessions) == (
        "server pid 11 app (idle in transaction): SELECT 1",
        "server pid 77, which the server has ended, lent to t1-quiet-1",
        "server pid 9 app (idle): ROLLBACK, lent to t1-quiet-0",
    )
