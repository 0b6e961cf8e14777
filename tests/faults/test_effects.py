"""A fault knows from traffic and counters whether it bit; silence is no proof."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
    ],
)
def test_only_a_felt_fault_is_confirmed(
    fault: Fault, before: Window, during: Window, bit: bool
) -> None:
    assert fault.effect(before, during).bit is bit


@pytest.mark.parametrize(("ticks", "bit"), [(512.0, True), (-512.0, True), (0.0, False)])
def test_a_crash_is_confirmed_by_another_start_time(ticks: float, bit: bool) -> None:
    during = Window(1.0, (), {"agent.target-0.started": ticks})
    assert CrashAgent("target-0").effect(window(), during).bit is bit


@pytest.mark.parametrize(
    "make",
    [
        lambda: Latency("redis", 0),
        lambda: Latency("redis", -5),
        lambda: Latency("redis", 10, jitter_ms=20),
        lambda: Latency("redis", 10**9),
        lambda: Partition("redis", "sideways"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_parameters_that_cannot_be_are_refused_in_one_line(make: Callable[[], Fault]) -> None:
    with pytest.raises(UsageError) as raised:
        make()
    assert raised.value.mend
    assert "\n" not in str(raised.value)
