"""The quota verdict: every kind enforced, nobody else refused, the right one charged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.history import History, Op, Outcome, history
from lab.journal import Event, Injected
from lab.resources import Kind, Recorder, Sample, Source
from lab.verdict import Status
from lab.verifiers._demand import Limit, over
from lab.verifiers.quota import held_to_limits
from tests.histories import ns, op, opened, phase

RATE = Limit("over-cpu", "cpu", "rate", "over", 20.0, 10.0, 40.0, "cpu_ms")
COUNT = Limit("over-flight", "in_flight", "count", "over", 1.0, meter="in_flight")
SIZE = Limit("over-memory", "memory", "size", "over", 96.0, 200.0)
SOCKETS = Limit("over-sockets", "sockets", "sockets", "over", 3.0, meter="sockets")
JUDGE = held_to_limits(
    (RATE, COUNT, SIZE, SOCKETS), within="within", modest="modest", seconds_max=1.0, asked_min=5
)
CROWD = Injected(fault="flood on clients of over-sockets-0 (...)", asked_ns=ns(5), at_ns=ns(5.2))
PHASES = (*phase("within", 0, 5), CROWD, *phase("over", 5, 10), *phase("after", 10, 12))
Meters = Mapping[str, Sequence[Mapping[str, float]]]


def refused(tenant: str, due: float, *, ms: float = 1.0, name: str = "over") -> Op:
    return op(tenant, due=due, ms=ms, phase=name, outcome=Outcome.FAIL, error="refused: over")


def sound() -> list[Op]:
    """Everybody is kept within what is theirs, and served otherwise."""
    ops = [op("modest-0", due=n / 5, phase="within") for n in range(25)]
    ops += [op("over-cpu-0", due=n, phase="within") for n in range(5)]
    ops += [op("over-cpu-0", due=5 + n / 20, ms=10, phase="over") for n in range(5)]
    ops += [refused("over-cpu-0", 5.25 + n / 20) for n in range(10)]
    ops += [op("over-flight-0", due=5 + n, ms=900, phase="over") for n in range(4)]
    ops += [refused("over-flight-0", 5.1 + n / 10) for n in range(5)]
    ops += [
        op("over-memory-0", due=5 + n / 10, phase="over", outcome=Outcome.INFO, error="Unknown")
        for n in range(6)
    ]
    return [*ops, op("over-sockets-0", due=6, phase="over")]


METERS: Meters = {
    "over-cpu-0": [{"cpu_ms": 50.0}, {"cpu_ms": 50.0}, {"cpu_ms": 100.0}],
    "over-flight-0": [{"in_flight": 0.0}, {"in_flight": 1.0}, {"in_flight": 0.0}],
    "over-sockets-0": [
        {"sockets": 1.0, "knocks": 1.0}, {"sockets": 3.0, "knocks": 9.0},
        {"sockets": 3.0, "knocks": 13.0},
    ],
    "modest-0": [{"cpu_ms": 0.0}] * 3,
}  # fmt: skip


def told(ops: Sequence[Op], meters: Meters = METERS, phases: Sequence[Event] = PHASES) -> History:
    """With the system's meters read at 4.5, 7 and 10.5 seconds."""
    recorder = Recorder(0)
    for name, values in meters.items():
        source = Source(Kind.METER, name, "", 1, 1)
        for at, each in zip((4.5, 7.0, 10.5), values, strict=True):
            recorder.take(Sample(source, ns(at), each))
    return history(ops, (opened(), *phases), recorder.resources())


def test_a_sound_system_holds_and_every_kind_has_its_time() -> None:
    verdict = JUDGE(told(sound()))
    assert verdict.status is Status.HELD, verdict.reason
    kinds = ("cpu", "in_flight", "memory", "sockets")
    assert set(verdict.measured) == {f"{kind}_enforced_ms" for kind in kinds}
    assert verdict.measured["cpu_enforced_ms"] < 60
    assert verdict.measured["sockets_enforced_ms"] == 200
    assert verdict.exposures["kinds"] == 4


def test_a_limit_without_a_time_is_kept_all_the_same() -> None:
    judge = held_to_limits((SOCKETS,), within="within", modest="modest", asked_min=5)
    assert judge(told(sound())).status is Status.HELD
    nobody_timed = [each for each in PHASES if each is not CROWD]
    verdict = judge(told(sound(), phases=nobody_timed))
    assert verdict.status is Status.HELD, verdict.reason
    assert not verdict.measured


def metered(**changes: Sequence[Mapping[str, float]]) -> Meters:
    return {**METERS, **{name.replace("_", "-"): each for name, each in changes.items()}}


WRONG: dict[str, Callable[[], History]] = {
    "nothing is refused": lambda: told(
        [replace_outcome(each) if each.tenant == "over-cpu-0" else each for each in sound()]
    ),
    "it is refused too late": lambda: told(
        [each for each in sound() if each.tenant != "over-cpu-0"]
        + [op("over-cpu-0", due=5 + n / 20, phase="over") for n in range(12)]
        + [refused("over-cpu-0", 7 + n / 10) for n in range(10)]
    ),
    "a modest one is refused": lambda: told([*sound(), refused("modest-0", 6)]),
    "work within the quota is refused": lambda: told(
        [*sound(), refused("over-cpu-0", 4.9, name="within")]
    ),
    "too much memory is given": lambda: told([*sound(), op("over-memory-0", due=8, phase="over")]),
    "more is unfinished than may be": lambda: told(
        sound(), metered(over_flight_0=[{"in_flight": n} for n in (0.0, 5.0, 0.0)])
    ),
    "more sockets are open than may be": lambda: told(
        sound(),
        metered(over_sockets_0=[{"sockets": n, "knocks": n} for n in (1.0, 12.0, 12.0)]),
    ),
    "nothing is charged": lambda: told(
        sound(), metered(over_cpu_0=[{"cpu_ms": 50.0}] * 3)
    ),
    "somebody else is charged": lambda: told(
        sound(), metered(modest_0=[{"cpu_ms": n} for n in (0.0, 40.0, 90.0)])
    ),
    "a refused write is done": lambda: told(
        [
            *sound(),
            replaced(refused("over-cpu-0", 8), action="write", sent="canary"),
            replaced(op("over-cpu-0", due=9, phase="over"), received="it holds: canary"),
        ]
    ),
}  # fmt: skip


def replaced(each: Op, **changes: str) -> Op:
    return msgspec.structs.replace(each, **changes)


def replace_outcome(each: Op) -> Op:
    return op(each.tenant, due=each.due_ns / 1e9, phase=each.phase)


@pytest.mark.parametrize("how", WRONG)
def test_every_way_to_break_a_quota_is_seen(how: str) -> None:
    verdict = JUDGE(WRONG[how]())
    assert verdict.status is Status.VIOLATED, verdict.reason
    assert verdict.evidence


def test_without_the_systems_own_meters_nothing_is_known() -> None:
    assert JUDGE(told(sound(), {})).status is not Status.HELD


def test_too_few_operations_are_no_evidence() -> None:
    judge = held_to_limits((SIZE,), within="within", modest="modest", asked_min=50)
    assert judge(told(sound())).status is Status.UNKNOWN


def test_a_run_that_never_got_there_is_unknown() -> None:
    judge = held_to_limits((replace(SIZE, phase="never"),), within="within", modest="modest")
    assert judge(told(sound())).status is Status.UNKNOWN


@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=60))
def test_what_is_paced_below_the_rate_is_never_over_it(gaps: list[float]) -> None:
    limit = Limit("c", "cpu", "rate", "p", amount=10.0, cost=1.0, saved=10.0)
    at, ops = 0.0, list[Op]()
    for gap in gaps:
        at += 0.1 + gap  # at most ten a second
        ops.append(op(due=at))
    assert not any(over(ops, limit))


@given(st.integers(2, 50))
def test_a_burst_is_over_the_rate_as_soon_as_nothing_is_saved(count: int) -> None:
    limit = Limit("c", "requests", "rate", "p", amount=0.001, cost=1.0, saved=5.0)
    flags = list(over([op(due=1.0) for _ in range(count)], limit))
    assert flags == [n >= 5 for n in range(count)]
