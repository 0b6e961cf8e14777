"""The healer's parts that need no engine: identities, the journal's tail, the lock, the wait."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.healing import healer
from lab.healing.lease import LOCK_NAME, RELEASED
from lab.journal import Acted, Created, Entered, Journal, read
from lab.procfs import started_ticks


def test_only_processes_whose_start_time_fits_are_ended(tmp_path: Path) -> None:
    waiting = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(waiting, stdin=subprocess.PIPE) as ours,
        subprocess.Popen(waiting, stdin=subprocess.PIPE) as stranger,
        Journal(tmp_path) as journal,
    ):
        journal.append(Created(kind="process", name=f"{ours.pid}:{started_ticks(ours.pid)}"))
        journal.append(Created(kind="process", name=f"{stranger.pid}:1"))
        assert len(healer._end_processes(tmp_path)) == 1  # pyright: ignore[reportPrivateUsage]
        assert ours.wait(5) == -9
        assert stranger.poll() is None
        stranger.communicate(b"\n", timeout=5)


def test_the_note_follows_whole_lines_only(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(Entered(phase="attack", at_ns=1))
    with journal.path.open("ab") as file:
        file.write(b'{"type":"left","pha')
    healer._note(tmp_path, "the lab died", "removed 0")  # pyright: ignore[reportPrivateUsage]
    assert [type(event) for event in read(tmp_path)] == [Entered, Acted]


def test_a_lock_that_is_held_or_out_of_sight_is_no_orphan(tmp_path: Path) -> None:
    path = tmp_path / LOCK_NAME
    abandoned = healer._abandoned  # pyright: ignore[reportPrivateUsage]
    assert not abandoned(path)
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not abandoned(path)
    assert abandoned(path)


@pytest.mark.parametrize(
    ("said", "closes", "reason"),
    [(b"..", True, "the lab died"), (b".." + RELEASED, True, ""), (b".", False, "no beat for")],
)
def test_the_healer_acts_on_a_closed_pipe_or_silence_but_not_on_release(
    said: bytes, closes: bool, reason: str
) -> None:
    reader, writer = os.pipe()
    kept = os.dup(0)
    os.dup2(reader, 0)
    try:
        os.write(writer, said)
        if closes:
            os.close(writer)
        found = healer._until_needed(0.05)  # pyright: ignore[reportPrivateUsage]
    finally:
        os.dup2(kept, 0)
        for fd in (kept, reader, *(() if closes else (writer,))):
            os.close(fd)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_what_a_dead_lab_asked_for_is_removed_however_late_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, done_at, swept = [0.0], 8.0, list[float]()

    def sweep(run: str) -> tuple[str, ...]:
        if now[0] < done_at or swept:
            return ()
        swept.append(now[0])
        return ("network late",)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def orphans() -> frozenset[int]:
        return frozenset({7, 9}) if now[0] < done_at else frozenset({9})  # others ask all the time

    monkeypatch.setattr(healer, "sleep", sleep)
    monkeypatch.setattr(healer, "monotonic", lambda: now[0])
    monkeypatch.setattr(healer, "sweep", sweep)
    monkeypatch.setattr(healer, "orphans", orphans)
    late = healer._late  # pyright: ignore[reportPrivateUsage]
    assert late("r", frozenset({7})) == ("network late",)
    assert done_at < now[0] < done_at + 3 * healer.SETTLE_SECONDS
    assert late("r", frozenset()) == ()
    began = now[0]
    assert late("r", frozenset({9})) == ()  # one that never ends is not waited for for ever
    assert now[0] - began < healer.LONGEST_REQUEST_SECONDS + 2 * healer.SETTLE_SECONDS
