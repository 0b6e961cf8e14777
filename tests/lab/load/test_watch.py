"""What the generator tells of itself."""

from __future__ import annotations

import time

import pytest

from lab.history import Op, Outcome
from lab.load.health import merged
from lab.load.watch import Tally, Watch

MS = 1_000_000


def op(late_ms: float | None, error: str = "") -> Op:
    sent_ns = 0 if late_ms is None else 1_000 * MS + int(late_ms * MS)
    outcome = Outcome.FAIL if error else Outcome.OK
    return Op("i", "t", "c", 1, "read", "p", 1_000 * MS, sent_ns, 2_000 * MS, outcome, error)


def test_every_action_that_was_due_is_counted_once_in_its_phase_and_in_the_whole() -> None:
    watch = Watch()
    calm, attack = watch.tallies["calm"], watch.tallies["attack"] = Tally(), Tally()
    for late_ms in (1, 2, 3, 100):
        calm.count(op(late_ms))
    attack.count(op(None, "dropped"))
    attack.count(op(None, "not connected"))
    attack.count(op(4, "censored"))
    attack.count(op(4, "refused: no"))
    health = merged([watch.report()])
    assert (health.due, health.sent, health.dropped) == (8, 6, 1)
    assert (health.not_connected, health.censored) == (1, 1)
    assert health.lateness_max_ms == 100
    assert health.phases["calm"].lateness_p50_ms == 2
    assert health.phases["attack"].lateness_max_ms == 4
    assert health.phases["attack"].due == 4


def test_a_stall_counts_for_the_phases_that_run_and_for_the_whole() -> None:
    watch = Watch()
    before, during = watch.tallies["before"], watch.tallies["during"] = Tally(), Tally()
    before.begin()
    before.end()
    during.begin()
    watch.stalled(7 * MS)
    during.end()
    watch.stalled(9 * MS)
    health = merged([watch.report()])
    assert health.stall_max_ms == 9
    assert health.phases["during"].stall_max_ms == 7
    assert health.phases["before"].stall_max_ms == 0


def test_a_phase_that_ended_costs_nothing_any_more() -> None:
    tally = Tally()
    tally.begin()
    tally.end()
    first = tally.report()
    tally.end()
    assert tally.report() == first
    assert first.seconds == pytest.approx(0, abs=1)


def test_a_stop_of_the_whole_machine_is_told_with_its_time() -> None:
    watch = Watch()
    watch.stalled(499 * MS)
    watch.stalled(700 * MS)
    ((end_ns, stall_ns),) = watch.report().stalls
    assert stall_ns == 700 * MS
    assert abs(time.monotonic_ns() - end_ns) < 60_000 * MS
