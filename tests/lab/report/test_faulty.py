"""Every fault of a run is told with what was asked of it and what was seen."""

from __future__ import annotations

from rich.console import Console

from lab.history import history
from lab.journal import Confirmed, Event, Healed, Injected, Injecting
from lab.report.faulty import fault_results, faults_table

NAME = "latency on link redis (delay_ms=200)"
BEGUN = Injecting(
    fault=NAME, kind="latency", settings={"link": "redis", "delay_ms": 200}, at_ns=1_000_000_000
)
STORY: tuple[Event, ...] = (
    BEGUN,
    Injected(fault=NAME, asked_ns=1_000_000_000, at_ns=1_012_000_000),
    Confirmed(fault=NAME, bit=True, how="slower", observed={"delay_ms": 203.4, "calm_p75_ms": 5}),
    Healed(fault=NAME, asked_ns=3_000_000_000, at_ns=3_007_000_000),
)


def test_what_was_asked_stands_beside_what_was_seen() -> None:
    (result,) = fault_results(history((), STORY))
    assert result.compared == "delay_ms 200 -> 203.4"
    assert (result.bit, result.inject_seconds, result.heal_seconds) == (True, 0.012, 0.007)
    assert result.from_seconds == 1.0


def test_the_same_fault_twice_is_two_results() -> None:
    first, second = fault_results(history((), (*STORY, *STORY[:2])))
    assert (first.bit, second.bit) == (True, None)
    assert second.heal_seconds is None


def test_a_fault_that_never_came_is_told_and_has_no_times() -> None:
    failed = Healed(fault=NAME, asked_ns=1, at_ns=2, error="no")
    (result,) = fault_results(history((), (BEGUN, failed)))
    assert (result.inject_seconds, result.heal_seconds) == (None, None)


def test_the_table_says_it_in_one_row_a_fault() -> None:
    console = Console(width=160)
    with console.capture() as shown:
        console.print(faults_table(fault_results(history((), STORY))))
    assert "delay_ms 200 -> 203.4" in shown.get()
    assert "12 ms" in shown.get()
