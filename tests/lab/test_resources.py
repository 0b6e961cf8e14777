"""What a monitor recorded is read back as it was, one series at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import resources
from lab.errors import LabError
from lab.resources import Kind, Recorder, Resources, Sample, Source

AGENT = Source(Kind.AGENT, "quiet-0", "c1", 41, 1000)
AGAIN = Source(Kind.AGENT, "quiet-0", "c1", 42, 2000)
SERVICE = Source(Kind.CONTAINER, "app", "c1", 7, 10)
EPOCH_NS = 5_000


def recorded(*samples: Sample) -> Resources:
    recorder = Recorder(EPOCH_NS)
    for sample in samples:
        recorder.take(sample)
    return recorder.resources()


SOME = recorded(
    Sample(SERVICE, EPOCH_NS + 1, {"cpu_seconds": 1.0}),
    Sample(AGENT, EPOCH_NS + 2, {"memory_bytes": 10.0, "cpu_seconds": 0.5}),
    Sample(AGENT, EPOCH_NS + 4, {"memory_bytes": 12.0}),
    Sample(AGAIN, EPOCH_NS + 6, {"memory_bytes": 3.0}),
)


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    resources.write(tmp_path, SOME)
    again = resources.read(tmp_path)
    assert again.of(Kind.AGENT) == (AGENT, AGAIN)
    for source in SOME.sources:
        for metric in SOME.metrics:
            was, now = SOME.series(source, metric), again.series(source, metric)
            assert (was.at_ns.tolist(), was.values.tolist()) == (
                now.at_ns.tolist(),
                now.values.tolist(),
            )


def test_a_run_without_a_monitor_has_no_readings(tmp_path: Path) -> None:
    assert len(resources.read(tmp_path)) == 0
    resources.write(tmp_path, Resources())
    assert len(resources.read(tmp_path)) == 0


def test_times_count_from_the_epoch_and_a_stretch_can_be_cut_out() -> None:
    seen = SOME.series(AGENT, "memory_bytes")
    assert seen.at_ns.tolist() == [2, 4]
    assert seen.between(3, 9).values.tolist() == [12.0]


def test_a_process_that_followed_another_is_another_source() -> None:
    assert SOME.series(AGAIN, "memory_bytes").values.tolist() == [3.0]
    assert len(SOME.series(AGAIN, "cpu_seconds")) == 0


def test_what_was_never_seen_is_empty() -> None:
    assert len(SOME.series(SERVICE, "nonsense")) == 0
    assert len(SOME.series(Source(Kind.KEYS, "x", "", 0, 0), "memory_bytes")) == 0


def test_a_damaged_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / resources.FILE_NAME).write_bytes(b"nonsense")
    with pytest.raises(LabError, match="the readings are damaged"):
        resources.read(tmp_path)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([AGENT, AGAIN, SERVICE]), st.sampled_from("abc"), st.integers(0, 99)
        )
    )
)
def test_a_series_is_every_reading_of_its_own_and_no_other(
    rows: list[tuple[Source, str, int]],
) -> None:
    seen = recorded(*(Sample(who, EPOCH_NS + at, {what: at * 2.0}) for who, what, at in rows))
    for who in (AGENT, AGAIN, SERVICE):
        for what in "abc":
            mine = sorted(at for w, m, at in rows if (w, m) == (who, what))
            series = seen.series(who, what)
            assert series.at_ns.tolist() == mine
            assert series.values.tolist() == [at * 2.0 for at in mine]
