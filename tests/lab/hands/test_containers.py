"""The process table, and whose agent a process is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.engine.api import GONE, Engine
from lab.errors import LabError
from lab.hands.containers import AgentProcess, Limits, ServiceState
from lab.hands.real.containers import KILL, RunContainers, parse_table, tenant_of
from lab.stack.schema import AgentsBlock

STAT = b"S 1 7 7 0 -1 4194304 500 0 0 0 1 2 0 0 20 0 1 0 4242 8192 100"


def table(*pieces: tuple[str, bytes]) -> bytes:
    """What the look inside a container prints."""
    return b"".join(b"/proc/" + path.encode() + b":" + text + b"\0" for path, text in pieces)


def test_a_process_has_its_arguments_and_its_start_time() -> None:
    output = table(
        ("7/stat", b"7 (python) " + STAT), ("7/cmdline", b"python"), ("7/cmdline", b"a b")
    )
    (row,) = parse_table(output)
    assert (row.pid, row.parent, row.started, row.args) == (7, 1, 4242, ("python", "a b"))


def test_a_zombie_has_no_arguments() -> None:
    (row,) = parse_table(table(("9/stat", b"9 (gone) Z" + STAT[1:])))
    assert (row.state, row.args) == ("Z", ())


@given(st.text(st.characters(blacklist_characters="\0", codec="ascii"), max_size=15))
def test_any_command_name_can_be_read(name: str) -> None:
    (row,) = parse_table(table(("7/stat", b"7 (" + name.encode() + b") " + STAT)))
    assert (row.command, row.started) == (name, 4242)


@pytest.mark.parametrize(
    ("args", "tenant"),
    [
        (("python", "agent.py", "--tenant", "t3-quiet-1"), "t3-quiet-1"),
        (("python", "/app/agent.py", "--tenant", "a", "--more"), "a"),
        (("sh", "-c", "agent.py --tenant a"), None),
        (("python", "agent.py", "--tenant", "NOT AN ID"), None),
        (("python", "agent.py", "--tenant"), None),
        ((), None),
    ],
)
def test_an_agent_is_known_by_the_words_of_its_command_line(
    args: tuple[str, ...], tenant: str | None
) -> None:
    assert tenant_of(args, "agent.py --tenant {tenant}") == tenant


@dataclass
class Answers:
    """An engine that answers every command alike."""

    status: int
    output: bytes = b""
    running: bool = True

    def execute(self, container: str, command: Sequence[str]) -> tuple[int, bytes]:
        """What was prepared."""
        del container, command
        return self.status, self.output

    def state(self, container: str) -> ServiceState:
        """Of the one container there is."""
        del container
        return ServiceState(self.running, paused=False, started="", limits=Limits())


def hand(engine: Answers) -> RunContainers:
    """The hand on one service with agents."""
    return RunContainers(
        cast("Engine", engine), {"app": "c"}, AgentsBlock(service="app", argv="agent {tenant}")
    )


FIRST, SECOND = ("1/stat", b"1 (init) " + STAT), ("7/stat", b"7 (python) " + STAT)


@pytest.mark.parametrize(
    "engine",
    [Answers(GONE), Answers(0), Answers(126, b"exec failed"), Answers(0, table(SECOND))],
    ids=repr,
)
def test_a_table_that_cannot_be_read_is_not_an_empty_one(engine: Answers) -> None:
    for look in (lambda: hand(engine).process_table("app"), hand(engine).agents):
        with pytest.raises(LabError, match="cannot be read"):
            anyio.run(look)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def test_a_table_counts_when_a_process_ended_under_the_look() -> None:
    rows = anyio.run(hand(Answers(2, table(FIRST, SECOND))).process_table, "app")
    assert [row.pid for row in rows] == [1, 7]


def test_a_service_that_does_not_run_has_no_processes() -> None:
    assert anyio.run(hand(Answers(GONE, running=False)).process_table, "app") == ()
    anyio.run(hand(Answers(GONE, running=False)).kill_process, AgentProcess("app", 7, 1), 9)


def test_a_signal_that_was_not_sent_is_an_error() -> None:
    with pytest.raises(LabError, match="process 7 cannot be signalled"):
        anyio.run(hand(Answers(GONE)).kill_process, AgentProcess("app", 7, 1), 9)


def test_of_many_processes_those_are_signalled_whose_start_time_fits() -> None:
    with ExitStack() as held:
        waiting = [sys.executable, "-c", "input()"]
        ours, stranger, also_ours = (
            held.enter_context(subprocess.Popen(waiting, stdin=subprocess.PIPE)) for _ in range(3)
        )

        def named(process: subprocess.Popen[bytes], later: int = 0) -> str:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return f"{process.pid}:{int(fields[19]) + later}"

        words = (named(ours), "4000000:1", named(stranger, later=1), named(also_ours))
        script = ["sh", "-c", KILL, "sh", str(int(SIGKILL)), *words]
        subprocess.run(script, check=True, stderr=subprocess.DEVNULL, timeout=10)
        assert (ours.wait(5), also_ours.wait(5)) == (-SIGKILL, -SIGKILL)
        assert stranger.poll() is None
        stranger.communicate(b"\n", timeout=5)
