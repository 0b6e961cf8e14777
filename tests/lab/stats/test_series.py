"""Operations become numbers: from the due time, and infinite unless OK."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from lab.history import Outcome
from lab.stats.series import exp_of, quantile_of, series
from tests.histories import ns, op


def test_latency_counts_from_the_due_time_however_late_it_was_sent() -> None:
    late = msgspec.structs.replace(op(due=10.0, ms=500.0), sent_ns=ns(10.4))
    due, latency = series([late], since_ns=ns(9.0))
    assert (due.tolist(), latency.tolist()) == ([1.0], [500.0])


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INFO])
def test_what_is_not_ok_is_infinitely_slow(outcome: Outcome) -> None:
    assert series([op(outcome=outcome)], since_ns=0)[1].tolist() == [np.inf]


def test_no_operations_are_two_empty_arrays() -> None:
    due, latency = series([], since_ns=0)
    assert len(due) == len(latency) == 0
    assert np.isnan(quantile_of(latency, 0.95))


def test_the_exponential_of_anything_is_a_number() -> None:
    assert exp_of(1e9) == np.inf
    assert exp_of(-np.inf) == 0.0
    assert np.isnan(exp_of(float("nan")))
