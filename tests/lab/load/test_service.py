"""Service time is what closed-loop tools report; response time is what tenants feel."""

from __future__ import annotations

import numpy as np
import pytest

from lab.history import Op, Outcome
from lab.load.service import service_times_ms

MS = 1_000_000


def op(
    number: int, due_ms: float, done_ms: float, session: int = 1, outcome: Outcome = Outcome.OK
) -> Op:
    due_ns, done_ns = int(due_ms * MS), int(done_ms * MS)
    where = (f"p/t/0/{number}", "t", "c", session, "read", "p")
    return Op(*where, due_ns, due_ns, done_ns, outcome)


def test_of_all_that_queued_behind_a_standstill_only_the_first_was_slow_to_serve() -> None:
    queued = [op(n, due_ms=100 * n, done_ms=500 + n) for n in range(5)]
    assert list(service_times_ms(queued)) == [500, 1, 1, 1, 1]


def test_a_new_session_waits_for_nobody() -> None:
    assert list(service_times_ms([op(0, 0, 500), op(1, 100, 501, session=2)])) == [500, 401]


def test_what_was_not_answered_has_no_service_time() -> None:
    assert not list(service_times_ms([op(0, 0, 500, outcome=Outcome.INFO)]))


def test_both_quantiles_of_a_server_frozen_a_quarter_of_the_time_by_arithmetic() -> None:
    """20 a second on each of 10 connections for 40 s, frozen for the last 500 ms of every 2 s."""
    ops = [
        op(n, due, 2_000 * (due // 2_000 + 1) if due % 2_000 >= 1_500 else due + 0.2, session)
        for session in range(10)
        for n, due in enumerate(range(session, 40_000, 50))
    ]
    assert np.quantile([o.latency_ms for o in ops], 0.95) == pytest.approx(400, abs=10)
    assert np.quantile(list(service_times_ms(ops)), 0.95) < 5
