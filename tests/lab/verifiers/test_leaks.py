"""Leaks are found and named; a rest that has what the last one had, and flat memory, are held."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from lab.history import History, Op, history
from lab.journal import Event, Sampled
from lab.resources import Kind, Recorder, Resources, Sample, Source
from lab.verdict import Status
from lab.verifiers.leaks import nobody_runs_away, nothing_grows, nothing_is_kept
from tests.histories import ns, op, opened, phase

WORK = phase("work", 0, 20)
Level = Callable[[float], float]


def flat(n: float) -> float:
    return 11e6


def leaking(n: float) -> float:
    return 11e6 + 1024 * n


def agent(name: str, pid: int = 41) -> Source:
    return Source(Kind.AGENT, name, "c1", pid, 100)


SERVICE = Source(Kind.CONTAINER, "app", "c1", 7, 1)
METRICS = {Kind.AGENT: "memory_bytes", Kind.CONTAINER: "rss_bytes", Kind.KEYS: "bytes"}


def requests(*tenants: str, seconds: float = 20, per_second: int = 25) -> list[Op]:
    return [
        op(tenant, due=n / per_second, phase="work")
        for tenant in tenants
        for n in range(int(seconds * per_second))
    ]


def read(levels: dict[Source, Level], *, per_second: int = 25, hz: int = 2) -> Resources:
    """Twenty seconds of readings; a level is given by the requests so far."""
    recorder = Recorder(0)
    for tick in range(20 * hz):
        for source, level in levels.items():
            values = {METRICS[source.kind]: level(tick / hz * per_second)}
            recorder.take(Sample(source, ns(tick / hz), values))
    return recorder.resources()


def told(ops: Iterable[Op], resources: Resources, *events: Event) -> History:
    return history(ops, (opened(), *WORK, *events), resources)


def test_a_process_that_grows_with_its_own_requests_is_named() -> None:
    levels = {agent("tools-0"): leaking, agent("quiet-0", 42): flat, SERVICE: flat}
    verdict = nothing_grows(phase="work", control="quiet")(
        told(requests("tools-0", "quiet-0"), read(levels))
    )
    assert verdict.status is Status.VIOLATED
    assert len(verdict.evidence) == 1
    assert "agent tools-0 (pid 41)" in verdict.evidence[0]


def test_nothing_that_grows_is_held_with_what_was_seen() -> None:
    levels = {agent("tools-0"): flat, agent("quiet-0", 42): flat, SERVICE: flat}
    verdict = nothing_grows(phase="work")(told(requests("tools-0", "quiet-0"), read(levels)))
    assert verdict.status is Status.HELD
    assert verdict.exposures == {"sources": 3, "sources_seen_too_little": 0, "requests": 1000}


def test_a_control_that_leaks_itself_is_found_all_the_same() -> None:
    levels = {agent("quiet-0"): leaking}
    verdict = nothing_grows(phase="work", control="quiet")(told(requests("quiet-0"), read(levels)))
    assert verdict.status is Status.VIOLATED


def test_keys_are_counted_to_the_byte() -> None:
    keys = Source(Kind.KEYS, "fresh-0", "c2", 9, 1)
    seen = told(requests("fresh-0"), read({keys: lambda n: 1000 + 100 * n}))
    verdict = nothing_grows(phase="work")(seen)
    assert (verdict.status, len(verdict.evidence)) == (Status.VIOLATED, 1)


def test_without_a_monitor_or_with_too_few_requests_nothing_is_known() -> None:
    judge = nothing_grows(phase="work")
    assert judge(told(requests("tools-0"), Resources())).status is Status.UNKNOWN
    few = told(requests("tools-0", per_second=2), read({agent("tools-0"): leaking}))
    assert judge(few).status is Status.UNKNOWN
    assert judge(history([], (opened(),))).status is Status.UNKNOWN


def test_a_service_alone_says_nothing_of_tenants() -> None:
    verdict = nothing_grows(phase="work")(told(requests("tools-0"), read({SERVICE: flat})))
    assert verdict.status is Status.UNKNOWN


def test_a_kilobyte_that_cannot_be_excluded_is_no_pass() -> None:
    def restless(n: float) -> float:
        return 11e6 + (4e6 if int(n) % 3 else 0) + 0.5e4 * n * (int(n) % 2)

    verdict = nothing_grows(phase="work")(
        told(requests("tools-0"), read({agent("tools-0"): restless}))
    )
    assert verdict.status is Status.UNKNOWN


RESTS = (*phase("before", 0, 2), *phase("after", 4, 6))
BETWEEN = [op(due=3, phase="work")]
CALM = {
    "descriptors": ("app: server: /dev/null", "app: server: pipe"),
    "processes": ("app: server",),
    "connections": (),
}


def held(at: float, **change: tuple[str, ...]) -> Sampled:
    return Sampled(probe="held", at_ns=ns(at), items=CALM | change)


def twice(at: float, **change: tuple[str, ...]) -> tuple[Sampled, ...]:
    return (held(at, **change), held(at + 0.6, **change))


def kept(*events: Event, ops: Iterable[Op] = BETWEEN) -> tuple[Status, tuple[str, ...]]:
    seen = history(ops, (opened(), *RESTS, *events))
    verdict = nothing_is_kept(before="before", after="after")(seen)
    return verdict.status, verdict.evidence


def test_a_rest_that_has_what_the_one_before_had_is_held() -> None:
    assert kept(*twice(1), *twice(5))[0] is Status.HELD


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"descriptors": (*CALM["descriptors"], "app: server: /tmp/x (deleted)")},
            "descriptors: app: server: /tmp/x (deleted)",
        ),
        ({"descriptors": (*CALM["descriptors"], "app: server: pipe")}, "descriptors: app: server"),
        ({"processes": ("app: server", "app: sleep 600")}, "processes: app: sleep 600"),
        ({"connections": ("server pid 9 app (idle): ROLLBACK",)}, "connections: server pid 9"),
    ],
)
def test_one_thing_more_is_found_exactly_and_named(
    change: dict[str, tuple[str, ...]], line: str
) -> None:
    status, evidence = kept(*twice(1), *twice(5, **change))
    assert status is Status.VIOLATED
    assert len(evidence) == 1
    assert evidence[0].startswith(line)


def test_what_is_lent_at_rest_is_a_leak_though_it_was_lent_before() -> None:
    lent = {"connections": ("server pid 9 app (idle): ROLLBACK",)}
    early = [op(due=0.5, phase="before"), *BETWEEN]
    assert kept(*twice(1, **lent), *twice(5, **lent), ops=early)[0] is Status.VIOLATED


def test_what_an_earlier_run_has_left_is_not_held_against_this_one() -> None:
    lent = {"shares": ("4 of the pool for somebody-else",)}
    assert kept(held(-1, **lent), *twice(1, **lent), *twice(5, **lent))[0] is Status.HELD


@pytest.mark.parametrize("at", [4.5, 5.0, 5.6])
def test_what_one_look_alone_sees_was_on_its_way(at: float) -> None:
    busy = held(at, connections=("server pid 9 app (idle): COMMIT, lent to fresh-0",))
    looks = [busy if at == time else held(time) for time in (4.5, 5.0, 5.6)]
    assert kept(*twice(1), *looks)[0] is Status.HELD


def test_looks_before_the_last_answer_say_nothing() -> None:
    late = [*BETWEEN, op(due=3.9, ms=1_500, phase="work")]
    lent = {"connections": ("server pid 9 app (idle): COMMIT, lent to fresh-0",)}
    assert kept(*twice(1), *twice(4.5, **lent), ops=late)[0] is Status.UNKNOWN
    assert kept(*twice(1), *twice(4.5, **lent), held(5.5), ops=late)[0] is Status.UNKNOWN
    assert kept(*twice(1), held(4.5, **lent), *twice(5.4), ops=late)[0] is Status.HELD


def test_without_two_looks_in_both_rests_or_a_request_between_nothing_is_known() -> None:
    assert kept(*twice(5))[0] is Status.UNKNOWN
    assert kept(*twice(1))[0] is Status.UNKNOWN
    assert kept(held(1), *twice(5))[0] is Status.UNKNOWN
    assert kept(*twice(1), held(5))[0] is Status.UNKNOWN
    assert kept(*twice(1), *twice(3))[0] is Status.UNKNOWN
    assert kept(*twice(1), *twice(5), ops=[])[0] is Status.UNKNOWN


def spun(share: float) -> History:
    recorder = Recorder(0)
    for tick in range(5):
        values = {"cpu_seconds": 7 + tick / 2 * share}
        recorder.take(Sample(agent("tools-0"), ns(4 + tick / 2), values))
    return history(BETWEEN, (opened(), *RESTS), recorder.resources())


def test_who_computes_at_rest_is_named_and_who_does_not_is_not() -> None:
    judge = nobody_runs_away(rest="after")
    away = judge(spun(0.9))
    assert (away.status, away.evidence) == (
        Status.VIOLATED,
        ("agent tools-0 (pid 41) uses 90%",),
    )
    assert judge(spun(0.01)).status is Status.HELD
    assert judge(history(BETWEEN, (opened(), *RESTS))).status is Status.UNKNOWN
