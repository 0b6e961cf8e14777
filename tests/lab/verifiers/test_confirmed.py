"""A fault that is not known to have bitten, or a flood that never came, is UNKNOWN, never HELD."""

from __future__ import annotations

import pytest

from lab.history import Op, Outcome
from lab.journal import Confirmed, Event, Injected, Injecting
from lab.verdict import Status
from lab.verifiers.confirmed import every_fault_bit, the_flood_was_real
from tests.histories import op, phase, told

HELD, UNKNOWN = Status.HELD, Status.UNKNOWN


def fault(name: str, *, injected: bool = True, bit: bool | None = True) -> list[Event]:
    events: list[Event] = [Injecting(fault=name, kind="cut", settings={}, at_ns=0)]
    if injected:
        events.append(Injected(fault=name, asked_ns=0, at_ns=1))
    if bit is not None:
        events.append(Confirmed(fault=name, bit=bit, how="bytes stopped"))
    return events


@pytest.mark.parametrize(
    ("events", "status", "evidence"),
    [
        (fault("a") + fault("b"), HELD, 0),
        (fault("a") + fault("a"), HELD, 0),
        (fault("a") + fault("b", bit=False), UNKNOWN, 1),
        (fault("a") + fault("b", bit=None), UNKNOWN, 1),
        (fault("a") + fault("a", bit=None), UNKNOWN, 1),
        (fault("a", injected=False), UNKNOWN, 1),
        ([], UNKNOWN, 0),
    ],
)
def test_every_fault_has_to_be_confirmed(
    events: list[Event], status: Status, evidence: int
) -> None:
    verdict = every_fault_bit()(told([op()], *events))
    assert (verdict.status, len(verdict.evidence)) == (status, evidence)


def flood(per_second: float, *, error: str = "") -> list[Op]:
    outcome = Outcome.FAIL if error else Outcome.OK
    return [
        op("noisy-0", due=10 + n / per_second, phase="attack", outcome=outcome, error=error)
        for n in range(int(10 * per_second))
    ]


ATTACK = phase("attack", 10, 20)
FLOODED = the_flood_was_real(cohort="noisy", phase="attack", per_second_min=50)


def test_a_flood_of_its_full_size_was_real() -> None:
    verdict = FLOODED(told(flood(60), *ATTACK))
    assert verdict.status is HELD
    assert verdict.measured["attempts_per_second"] == pytest.approx(60)


def test_what_was_dropped_at_the_bound_is_pressure_too_if_anything_was_sent() -> None:
    mixed = flood(10) + flood(60, error="dropped")
    assert FLOODED(told(mixed, *ATTACK)).status is HELD
    assert FLOODED(told(flood(60, error="dropped"), *ATTACK)).status is UNKNOWN


def test_a_refused_flood_was_sent() -> None:
    assert FLOODED(told(flood(60, error="refused: quota"), *ATTACK)).status is HELD


def test_a_flood_that_was_small_or_had_no_connection_or_never_came_is_unknown() -> None:
    assert FLOODED(told(flood(20), *ATTACK)).status is UNKNOWN
    assert FLOODED(told(flood(60, error="not connected"), *ATTACK)).status is UNKNOWN
    assert FLOODED(told(flood(60))).status is UNKNOWN
    assert FLOODED(told([], *ATTACK)).status is UNKNOWN
