"""The journal: append-only, exact, and readable after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.journal import FILE_NAME, Entered, Journal, Left, Opened, Sampled, read

OPENED = Opened(
    run="r", experiment="x", seed=7, epoch_ns=1, wall="now", profile="quick", mode="", system="s",
    tenants=3, links={"redis": "redis"},
)  # fmt: skip


def test_what_is_appended_is_what_is_read(tmp_path: Path) -> None:
    events = (
        OPENED,
        Entered(phase="calm", at_ns=5),
        Sampled(probe="census", at_ns=6, items={"keys": ("a", "b")}, values={"x": 0.5}),
        Left(phase="calm", at_ns=9),
    )
    with Journal(tmp_path) as journal:
        for event in events:
            journal.append(event, durable=True)
    assert read(tmp_path) == events


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(OPENED)
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'{"type":"entered","pha')
    assert read(tmp_path) == (OPENED,)


def test_a_damaged_line_is_named_by_its_number(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(OPENED)
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b"not json\n")
    with pytest.raises(LabError, match="line 2"):
        read(tmp_path)


def test_a_missing_journal_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no journal"):
        read(tmp_path / "nowhere")
