"""Operations on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import LabError
from lab.history import Op, Outcome
from lab.load import events

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
OPS = st.builds(
    Op,
    id=TEXT,
    tenant=TEXT,
    cohort=TEXT,
    session=st.integers(0, 2**31),
    action=TEXT,
    phase=TEXT,
    due_ns=st.integers(-(2**62), 2**62),
    sent_ns=st.integers(-(2**62), 2**62),
    done_ns=st.integers(-(2**62), 2**62),
    outcome=st.sampled_from(Outcome),
    error=TEXT,
    sent=TEXT,
    received=TEXT,
)


# The first example pays for the import of pyarrow.
@settings(deadline=None)
@given(ops=st.lists(OPS, max_size=20))
def test_operations_come_back_exactly_as_they_were(ops: list[Op]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        events.write(path, ops)
        assert events.read(path) == tuple(ops)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no operations to read") as caught:
        events.read(tmp_path / "events.parquet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"PAR1 nothing PAR1", None])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "events.parquet"
    events.write(path, [])
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    with pytest.raises(LabError, match="damaged") as caught:
        events.read(path)
    assert "\n" not in str(caught.value)


def test_a_file_with_other_columns_is_damaged(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"id": ["a"]}), path)  # pyright: ignore
    with pytest.raises(LabError, match="damaged"):
        events.read(path)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="cannot be written"):
        events.write(tmp_path / "file" / "events.parquet", [])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
