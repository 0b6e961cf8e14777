"""A fault knows from traffic and counters whether it bit; silence is no proof."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faults.containers import CpuQuota, Kill, MemoryLimit, Pause, PidsLimit, Restart, Stop
from faults.links_more import Bandwidth, LimitData, ResetPeer, Slicer, SlowClose, Timeout
from faults.network import Down, Latency, Partition
from faults.tenants import CrashAgent
from lab.errors import UsageError
from lab.fault import Fault, Window
from lab.history import Op, Outcome


def window(latency_ms: float = 10.0, *, answered: int = 40, silent: int = 0) -> Window:
    """A second with so many answered operations of this latency, and so many that timed out."""
    done = int(latency_ms * 1e6)
    ok = [Op(f"{n}", "t", "c", 1, "read", "p", 0, 0, done, Outcome.OK) for n in range(answered)]
    late = Op("late", "t", "c", 1, "read", "p", 0, 0, done, Outcome.INFO, "timeout")
    return Window(1.0, (*ok, *[late] * silent), {})


SILENT = window(answered=1, silent=39)
FEW_LOST = window(answered=35, silent=5)


@pytest.mark.parametrize(
    ("fault", "before", "during", "bit"),
    [
        (Latency("redis", 50), window(10), window(61), True),
        (Latency("redis", 50), window(10), window(12), False),
        (Latency("redis", 50), window(10), window(answered=0), False),
        (Partition("redis"), window(), SILENT, True),
        (Partition("redis", "to"), window(), SILENT, True),
        (Down("redis"), window(), SILENT, True),
        (Partition("redis"), window(), window(), False),
        (Partition("redis"), window(), window(answered=39, silent=1), False),
        (Partition("redis"), window(), window(answered=0), False),
        (Partition("redis"), window(answered=0), SILENT, False),
        (Bandwidth("redis", 1), window(10), window(40), True),
        (Bandwidth("redis", 1), window(10), SILENT, True),
        (Bandwidth("redis", 1), window(1), window(3), False),
        (Slicer("redis", 10, delay_us=1000), window(10), window(40), True),
        (Slicer("redis", 10), window(10), window(10), False),
        (LimitData("redis", 1000), window(), FEW_LOST, True),
        (LimitData("redis", 1000), window(), window(), False),
        (LimitData("redis", 1000), window(), window(answered=11, silent=1), False),
        (LimitData("redis", 1000), window(answered=35, silent=5), FEW_LOST, False),
        (Timeout("redis", 100), window(), SILENT, True),
        (Timeout("redis", 100), window(), FEW_LOST, False),
        (ResetPeer("redis"), window(), SILENT, True),
        (ResetPeer("redis"), window(), window(), False),
        (SlowClose("redis", 100), window(), window(), False),
        (Kill("redis"), window(), SILENT, True),
        (Kill("redis"), window(), window(), False),
        (Stop("redis"), window(), SILENT, True),
        (Pause("redis"), window(), SILENT, True),
        (Restart("redis"), window(), Window(1.0, (), {"redis.started_seconds": 0.3}), True),
        (Restart("redis"), window(), FEW_LOST, False),
        (CpuQuota("redis", 0.1), window(10), window(40), True),
        (CpuQuota("redis", 0.1), window(10), window(11), False),
        (MemoryLimit("redis", 64), window(), SILENT, True),
        (MemoryLimit("redis", 64), window(), window(), False),
        (PidsLimit("redis", 5), window(), window(), False),
    ],
)
def test_only_a_felt_fault_is_confirmed(
    fault: Fault, before: Window, during: Window, bit: bool
) -> None:
    assert fault.effect(before, during).bit is bit


@pytest.mark.parametrize(
    ("ticks", "more", "bit"),
    [(512.0, 0.0, True), (-512.0, -1.0, True), (0.0, 0.0, False), (512.0, 1.0, False)],
)
def test_a_crash_is_confirmed_by_another_start_time_where_one_ran_before(
    ticks: float, more: float, bit: bool
) -> None:
    during = Window(1.0, (), {"agent.target-0.started": ticks, "agent.target-0.there": more})
    assert CrashAgent("target-0").effect(window(), during).bit is bit


@pytest.mark.parametrize(
    "make",
    [
        lambda: Latency("redis", 0),
        lambda: Latency("redis", -5),
        lambda: Latency("redis", 10, jitter_ms=20),
        lambda: Latency("redis", 10**9),
        lambda: Latency("redis", 10, stream="both"),  # pyright: ignore[reportArgumentType]
        lambda: Latency("redis", "50"),  # pyright: ignore[reportArgumentType]
        lambda: Latency("redis", True),
        lambda: Partition("redis", "sideways"),  # pyright: ignore[reportArgumentType]
        lambda: Bandwidth("redis", 0),
        lambda: Bandwidth("redis", 64, "both"),  # pyright: ignore[reportArgumentType]
        lambda: Slicer("redis", 0),
        lambda: Slicer("redis", 10, size_variation_bytes=10),
        lambda: Slicer("redis", 10, delay_us=-1),
        lambda: LimitData("redis", 0),
        lambda: Timeout("redis", 0),
        lambda: ResetPeer("redis", -1),
        lambda: SlowClose("redis", 0),
        lambda: Kill("redis", "SIGSTOP"),
        lambda: Kill("redis", "9"),
        lambda: CpuQuota("redis", 0.0),
        lambda: CpuQuota("redis", float("nan")),
        lambda: MemoryLimit("redis", 5),
        lambda: MemoryLimit("redis", 64.5),  # pyright: ignore[reportArgumentType]
        lambda: PidsLimit("redis", 0),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_one_line(make: Callable[[], Fault]) -> None:
    with pytest.raises(UsageError) as raised:
        make()
    assert raised.value.mend
    assert "\n" not in str(raised.value)
