"""The process table, and whose agent a process is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hands.real.containers import parse_table, tenant_of

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
