"""Everybody gets their share, or the verdict says who did not."""

from __future__ import annotations

import msgspec

from lab.history import Op
from lab.journal import Event, Sampled
from lab.verdict import Status, Verdict
from lab.verifiers.fairness import everybody_gets_their_share
from tests.histories import ns, op, phase, timed_out, told

JUDGE = everybody_gets_their_share(phase="calm", entitled_per_second=5.0, tenants_min=10)


def traffic(tenants: int = 20, *, poor: int = 0, seconds: int = 20, ms: float = 5) -> list[Op]:
    """Everybody asks five times a second; the first `poor` get two answers of five."""
    return [
        op(f"t-{n}", due=k + i / 5, ms=ms)
        if n >= poor or i < 2
        else timed_out(f"t-{n}", due=k + i / 5)
        for n in range(tenants)
        for k in range(seconds)
        for i in range(5)
    ]


def judged(ops: list[Op], *events: Event) -> Verdict:
    return JUDGE(told(ops, *phase("calm", 0, 20), *events))


def test_everybody_served_is_held() -> None:
    verdict = judged(traffic())
    assert verdict.status is Status.HELD
    assert verdict.measured["jain_worst_second"] == 1
    assert verdict.exposures["seconds"] == 20


def test_a_few_that_get_less_are_a_violation_and_are_named() -> None:
    verdict = judged(traffic(poor=2))
    assert verdict.status is Status.VIOLATED
    assert any("t-0 got 40.0%" in line for line in verdict.evidence)
    assert verdict.measured["min_over_max"] == 0.4


def test_one_second_in_twenty_may_be_bad_and_is_shown() -> None:
    ops = [
        timed_out(o.tenant, due=o.due_ns / 1e9) if o.due_ns < ns(1) and o.tenant < "t-15" else o
        for o in traffic()
    ]
    verdict = judged(ops)
    assert verdict.status is Status.HELD
    assert verdict.measured["jain_worst_second"] < 0.8


def test_a_little_less_for_all_alike_is_fair_and_nothing_for_anybody_is_not() -> None:
    ops = traffic()
    alike = [o if i % 5 else timed_out(o.tenant, due=o.due_ns / 1e9) for i, o in enumerate(ops)]
    assert judged(alike).status is Status.HELD
    nothing = judged(traffic(ms=3000))
    assert nothing.status is Status.VIOLATED
    assert nothing.measured["least_share"] == 0


def test_too_few_tenants_or_seconds_are_unknown() -> None:
    assert judged(traffic(5)).status is Status.UNKNOWN
    assert judged(traffic(seconds=4)).status is Status.UNKNOWN
    assert JUDGE(told(traffic())).status is Status.UNKNOWN


def test_seconds_that_strangers_crowd_are_set_aside() -> None:
    def reading(at: float, busy: float) -> Sampled:
        none = {"own_seconds": 0.0, "rival_seconds": 0.0, "steal_seconds": 0.0}
        return Sampled(probe="host", at_ns=ns(at), values=none | {"busy_seconds": busy})

    some = judged(traffic(poor=2), reading(0, 0), reading(10, 8), reading(20, 8.1))
    assert some.exposures["seconds_unfit"] == 10
    most = judged(traffic(poor=2), reading(0, 0), reading(17, 15), reading(20, 15.1))
    assert most.status is Status.UNKNOWN


def test_a_late_generator_accuses_nobody() -> None:
    late = [
        msgspec.structs.replace(o, sent_ns=o.due_ns + ns(0.4), done_ns=o.done_ns + ns(0.4))
        for o in traffic(poor=0)
    ]
    verdict = judged(late)
    assert verdict.status is Status.UNKNOWN
    assert "generator late" in verdict.reason
