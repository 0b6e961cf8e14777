"""One health of several workers' reports."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from lab.load.health import merged
from lab.load.wire import PhaseReport, Report

late_times = st.lists(st.integers(0, 10**9), min_size=1)


def report(
    late_ns: list[int], *, stall_ns: int = 0, errors: dict[str, int] | None = None
) -> Report:
    phase = PhaseReport(
        errors={"": len(late_ns)} if errors is None else errors,
        late_ns=array("q", late_ns).tobytes(),
        stall_ns=stall_ns,
        cpu_seconds=1.0,
        seconds=2.0,
    )
    return Report(
        phases={"p": phase}, stall_ns=stall_ns, cpu_seconds=1.5, seconds=3.0, transport="picows"
    )


@given(st.lists(late_times, min_size=1, max_size=5))
def test_merged_lateness_is_that_of_one_worker_that_sent_everything(each: list[list[int]]) -> None:
    together = merged([report(late_ns) for late_ns in each])
    alone = merged([report([late for late_ns in each for late in late_ns])])
    for name in ("due", "sent", "lateness_p50_ms", "lateness_p99_ms", "lateness_max_ms"):
        assert getattr(together, name) == getattr(alone, name)
        assert getattr(together.phases["p"], name) == getattr(alone.phases["p"], name)


def test_a_quantile_is_not_the_mean_of_the_workers_quantiles() -> None:
    health = merged([report([0] * 99), report([100_000_000])])
    assert health.lateness_p99_ms == 0
    assert health.lateness_max_ms == 100


def test_counts_and_cpu_add_up_and_the_worst_stall_counts() -> None:
    errors = {"": 1, "dropped": 2, "censored": 3, "not connected": 4}
    health = merged([report([1], stall_ns=5_000_000, errors=errors), report([1], errors=errors)])
    assert (health.due, health.sent, health.dropped) == (20, 2, 4)
    assert (health.censored, health.not_connected) == (6, 8)
    assert (health.cpu_seconds, health.seconds, health.stall_max_ms) == (3.0, 3.0, 5.0)
    assert (health.workers, health.transport) == (2, "picows")
    assert health.values()["p.dropped"] == 4
