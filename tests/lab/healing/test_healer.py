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


def test_a_process_is_known_by_its_pid_and_start_time() -> None:
    assert healer.started_ticks(os.getpid()) == healer.started_ticks(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert healer.started_ticks(child.pid) is not None
    assert healer.started_ticks(child.pid) is None


def test_only_processes_whose_start_time_fits_are_ended(tmp_path: Path) -> None:
    waiting = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(waiting, stdin=subprocess.PIPE) as ours,
        subprocess.Popen(waiting, stdin=subprocess.PIPE) as stranger,
        Journal(tmp_path) as journal,
    ):
        journal.append(Created(kind="process", name=f"{ours.pid}:{healer.started_ticks(ours.pid)}"))
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


@pytest.mark.parametrize(
    ("at_work", "told"),
    [
        (frozenset({7}), "what the engine was still at work on is removed, however late it comes"),
        (frozenset[int](), "nothing comes once the engine is done, and nobody waits for it"),
        (None, "where that cannot be seen, it is waited by the clock"),
    ],
)
def test_a_run_is_over_when_the_engine_is_done_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_work: frozenset[int] | None, told: str
) -> None:
    now, late, swept = [0.0], 8.0, list[float]()

    def sweep(run: str) -> tuple[str, ...]:
        if now[0] < late or swept or at_work is None:
            return ()
        swept.append(now[0])
        return ("network late",)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(healer, "sleep", sleep)
    monkeypatch.setattr(healer, "monotonic", lambda: now[0])
    monkeypatch.setattr(healer, "sweep", sweep)

    def orphans() -> frozenset[int] | None:
        strangers = frozenset({9} if now[0] else ())  # there are always some, but not at first
        return None if at_work is None else strangers | (at_work if now[0] < late else strangers)

    monkeypatch.setattr(healer, "orphans", orphans)
    removed = healer.heal("r", tmp_path)
    assert removed == (("network late",) if at_work else ()), told
    waits = healer.SETTLED_SECONDS if at_work is not None else healer.QUIET_SECONDS
    assert abs(now[0] - (late * bool(at_work)) - waits) < 2 * healer.SETTLE_SECONDS
