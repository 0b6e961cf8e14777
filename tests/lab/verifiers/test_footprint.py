"""Each tenant's own process is held to its budget, at rest and at work; who is not read is told."""

from __future__ import annotations

import pytest

from lab.history import History, history
from lab.resources import Kind, Recorder, Sample, Source
from lab.verdict import Status
from lab.verifiers.footprint import within
from tests.histories import ns, op, opened, phase

EVENTS = (opened(), *phase("idle", 0, 10))


def run(
    *,
    cpu: float = 0.01,
    memory_mb: float = 10,
    io_mb: float = 0,
    ms: float = 20,
    readings: float = 9,
) -> History:
    """Two tenants, the second of them as told."""
    recorder = Recorder(0)
    for pid, (name, share, size, moved) in enumerate(
        [("tenant-0", 0.01, 10.0, 0.0), ("tenant-1", cpu, memory_mb, io_mb)], start=41
    ):
        source = Source(Kind.AGENT, name, "c", pid, 1)
        for at in range(int(readings) if name == "tenant-1" else 9):
            values = {
                "cpu_seconds": 3 + share * at,
                "memory_bytes": size * 1e6,
                "io_write_bytes": moved * 1e6 * at,
                "descriptors": 5.0,
            }
            recorder.take(Sample(source, ns(at + 0.5), values))
    ops = [op(f"tenant-{n % 2}", due=n / 5, phase="idle", ms=ms) for n in range(40)]
    return history(ops, EVENTS, recorder.resources())


BUDGET = within(
    phase="idle",
    of="tenant",
    cpu_share_max=0.05,
    memory_mb_max=256,
    io_mb_per_second_max=10,
    answer_seconds_max=2,
)


def test_a_small_tenant_is_held_and_what_was_read_is_told() -> None:
    verdict = BUDGET(run())
    assert verdict.status is Status.HELD
    assert verdict.exposures == {"tenants": 2, "readings": 18, "answers": 40}
    assert verdict.measured["worst_cpu_share"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"cpu": 0.06}, "tenant-1: cpu_share 0.06, at most 0.05"),
        ({"memory_mb": 257}, "tenant-1: memory_mb 257, at most 256"),
        ({"io_mb": 11}, "tenant-1: io_mb_per_second 11, at most 10"),
    ],
)
def test_who_is_beyond_a_budget_is_named(what: dict[str, float], told: str) -> None:
    verdict = BUDGET(run(**what))
    assert (verdict.status, verdict.reason) == (Status.VIOLATED, told)


def test_slow_answers_are_beyond_it_too() -> None:
    assert BUDGET(run(ms=2500)).status is Status.VIOLATED


def test_a_tenant_that_was_hardly_read_makes_it_unknown() -> None:
    verdict = BUDGET(run(readings=2))
    assert verdict.status is Status.UNKNOWN
    assert "tenant-1" in verdict.reason


def test_nobody_and_no_phase_are_unknown() -> None:
    assert BUDGET(history([], EVENTS)).status is Status.UNKNOWN
    assert BUDGET(history([op("tenant-0")], (opened(),))).status is Status.UNKNOWN
