# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Arrivals out of a file: a former run replays, and a bad file is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.arrivals import Draw
from lab.errors import UsageError
from lab.history import OVERHEARD, Op, Outcome
from lab.load import events
from lab.load.recorded import recorded
from lab.seeds import stream

MS = 1_000_000


def op(tenant: str, due_ms: int, phase: str = "attack", action: str = "read") -> Op:
    times = (due_ms * MS, 0, due_ms * MS)
    return Op(f"{tenant}/{due_ms}", tenant, "quiet", 1, action, phase, *times, Outcome.OK)


def test_a_former_runs_events_replay_their_due_times_from_zero(tmp_path: Path) -> None:
    ops = [op("b", 110), op("a", 100), op("a", 130), op("a", 50, phase="baseline")]
    heard = op("a", 105, action=OVERHEARD)
    events.write(tmp_path / "events.parquet", [*ops, heard])
    told = recorded(tmp_path / "events.parquet", phase="attack", cohort="quiet")
    assert told.tenants_due_ns == ((0, 30 * MS), (10 * MS,))
    twice = recorded(tmp_path / "events.parquet", phase="attack", speed=2)
    assert twice.tenants_due_ns == ((0, 15 * MS), (5 * MS,))
    played = told.due_ns(Draw(stream(1), 0.0, ((0.0, 1.0),)))
    assert list(played) == [0, 10 * MS, 30 * MS]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1.5, 1.0, 2]", ((0,), (500 * MS,), (1_000 * MS,))),
        ('{"alice": [0.25, 0.5], "bob": [0.3]}', ((0, 250 * MS), (50 * MS,))),
    ],
)
def test_seconds_in_a_json_file_replay(
    tmp_path: Path, text: str, told: tuple[tuple[int, ...], ...]
) -> None:
    file = tmp_path / "incident.json"
    file.write_text(text)
    assert recorded(file).tenants_due_ns == told


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.json", None),
        ("broken.json", b"[1,"),
        ("strings.json", b'["soon"]'),
        ("nothing.json", b"[]"),
        ("endless.json", b"[1e999]"),
        ("missing.parquet", None),
        ("broken.parquet", b"PAR1"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match="no recorded arrivals") as caught:
        recorded(file)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_phase_that_the_run_had_not_is_an_error_and_so_is_no_speed(tmp_path: Path) -> None:
    events.write(tmp_path / "events.parquet", [op("a", 100)])
    with pytest.raises(UsageError, match="nothing is due"):
        recorded(tmp_path / "events.parquet", phase="recovery")
    with pytest.raises(UsageError, match="speed 0"):
        recorded(tmp_path / "events.parquet", speed=0)


def test_a_parquet_file_without_due_times_is_an_error(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"when": [1, 2]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="due_ns"):
        recorded(tmp_path / "other.parquet")
