"""Faults inside stores and tenants know from counters and from traffic whether they bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.postgres import DdlQueue, Deadlock, LockHold, TerminateBackends
from faults.postgres_server import (
    ConnectionExhaustion,
    IdleInTransaction,
    LostCommitAck,
    PostgresReadOnly,
    SlowQuery,
)
from faults.redis import Block, ClientPause, Evict, FlushAll, KeyExpire, KillClients, RedisReadOnly
from faults.services import Failover, Hang, HttpError
from faults.stores import mark, table_name
from faults.tenants import (
    AbruptDisconnect,
    BadInput,
    CancelStorm,
    Flood,
    PoisonMessage,
    ReconnectStorm,
    SlowConsumer,
    TokenExpiry,
)
from lab.errors import UsageError
from lab.fault import Fault, Window
from lab.history import Op, Outcome

MS = 1_000_000


def ops(tenant: str, latency_ms: float, lost: int = 0) -> tuple[Op, ...]:
    """Forty operations of one tenant, of which so many were not answered."""
    done = int(latency_ms * MS)
    return tuple(
        Op(f"{tenant}/{n}", tenant, "c", 1, "read", "p", 0, 0, done, outcome)
        for n in range(40)
        for outcome in [Outcome.INFO if n < lost else Outcome.OK]
    )


def window(target_ms: float = 10.0, lost: int = 0, **counters: float) -> Window:
    """A second in which `a` had these latencies and losses, and `b` none."""
    named = {name.replace("__", "."): value for name, value in counters.items()}
    return Window(1.0, (*ops("a", target_ms, lost), *ops("b", 10.0)), named)


def counted(fault: Fault, name: str) -> Window:
    """A calm second in which this fault's own counter grew by seven."""
    return Window(1.0, CALM.ops, {f"{mark(fault)}.{name}": 7.0})


CALM = window()
BITTEN = window(lost=30)
SHARED = Window(1.0, (*ops("a", 10.0, 30), *ops("b", 10.0, 30)), {})


@pytest.mark.parametrize(
    ("fault", "during", "bit"),
    [
        (LockHold("a", "t"), counted(LockHold("a", "t"), "waiting"), True),
        (LockHold("a", "t"), BITTEN, True),
        (LockHold("b", "t"), BITTEN, False),
        (LockHold("a", "t"), CALM, False),
        (DdlQueue("t"), counted(DdlQueue("t"), "waiting"), True),
        (DdlQueue("t"), CALM, False),
        (Deadlock("a", "t", "u"), window(postgres__deadlocks=1), True),
        (Deadlock("a", "t", "u"), BITTEN, False),
        (TerminateBackends("a"), counted(TerminateBackends("a"), "ended"), True),
        (TerminateBackends("a"), BITTEN, False),
        (IdleInTransaction(), counted(IdleInTransaction(), "held_back"), True),
        (IdleInTransaction(), counted(IdleInTransaction(2), "held_back"), False),
        (ConnectionExhaustion(), BITTEN, True),
        (ConnectionExhaustion(), CALM, False),
        (SlowQuery(), Window(1.0, ops("a", 50.0), {}), True),
        (SlowQuery(), CALM, False),
        (PostgresReadOnly(), BITTEN, True),
        (PostgresReadOnly(), CALM, False),
        (LostCommitAck("postgres"), window(postgres__unacknowledged=1), True),
        (LostCommitAck("postgres"), BITTEN, False),
        (ClientPause(100, 200), Window(1.0, ops("a", 50.0), {}), True),
        (Block(100, 200), Window(1.0, CALM.ops, {"redis.cmdstat_eval_ro.usec": 5e5}), False),
        (Block(100, 200), BITTEN, True),
        (KillClients(), BITTEN, True),
        (KillClients(), window(redis__total_connections_received=3), False),
        (Evict(8), window(redis__evicted_keys=1), True),
        (Evict(8), BITTEN, False),
        (RedisReadOnly(), window(redis__errorstat_NOREPLICAS__count=1), True),
        (FlushAll(), window(redis__cmdstat_flushall__calls=1), True),
        (FlushAll(), CALM, False),
        (KeyExpire("a"), window(redis__cmdstat_pexpire__calls=1), True),
        (KeyExpire("a"), CALM, False),
        (Failover("app", 10), window(app__started_seconds=2.5), True),
        (Failover("app", 10), window(app__started_seconds=0), False),
        (Hang("llm"), BITTEN, False),
        (Hang("llm"), window(lost=40), True),
        (HttpError("llm"), BITTEN, True),
        (HttpError("llm"), CALM, False),
        (Flood("a", 10.0), counted(Flood("a", 10.0), "sent"), True),
        (Flood("a", 10.0), counted(Flood("a", 10.0), "lost"), False),
        (Flood("a", 10.0), counted(Flood("b", 10.0), "sent"), False),
        (ReconnectStorm("a", 10.0), counted(ReconnectStorm("a", 10.0), "connected"), True),
        (ReconnectStorm("a", 10.0), counted(ReconnectStorm("a", 10.0), "refused"), False),
        (TokenExpiry("a"), BITTEN, True),
        (TokenExpiry("b"), BITTEN, False),
        (TokenExpiry("a"), SHARED, False),
        (LockHold("a", "t"), SHARED, False),
    ],
    ids=lambda value: repr(value) if not isinstance(value, Window) else "",
)
def test_only_a_felt_fault_is_confirmed(fault: Fault, during: Window, bit: bool) -> None:
    assert fault.effect(CALM, during).bit is bit


def test_what_all_others_felt_is_told_beside_as_the_control() -> None:
    effect = LockHold("a", "t").effect(CALM, BITTEN)
    assert effect.observed["cut_answered_share"] == 0.25
    assert effect.observed["others_cut_answered_share"] == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: LockHold("a", "t; DROP TABLE t"),
        lambda: LockHold("a", ""),
        lambda: DdlQueue("T"),
        lambda: Deadlock("a", "t", "u v"),
        lambda: TerminateBackends("a", 0),
        lambda: IdleInTransaction(0),
        lambda: ConnectionExhaustion(-1),
        lambda: SlowQuery(True),
        lambda: LostCommitAck("postgres", 0),
        lambda: ClientPause(5000, 100),
        lambda: ClientPause(100, 100, "read"),  # pyright: ignore[reportArgumentType]
        lambda: Block(0, 100),
        lambda: KillClients(0),
        lambda: Evict(0),
        lambda: KeyExpire("a", 0),
        lambda: Failover("app", -1),
        lambda: HttpError("llm", 200),
        lambda: Flood("a", 0.0),
        lambda: Flood("a", 5.0, "spend"),  # pyright: ignore[reportArgumentType]
        lambda: CancelStorm("a", 1e9),
        lambda: AbruptDisconnect("a", 0),
        lambda: ReconnectStorm("a", float("nan")),
        lambda: SlowConsumer("a", 1.0, 10_000),
        lambda: BadInput("a", 1.0, seed=-1),
        lambda: PoisonMessage("a", 0.0),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_one_line(make: Callable[[], Fault]) -> None:
    with pytest.raises(UsageError) as raised:
        make()
    assert raised.value.mend
    assert "\n" not in str(raised.value)


@given(st.text(max_size=80))
def test_no_text_reaches_sql_that_is_not_a_plain_name(text: str) -> None:
    try:
        table_name("lock_hold", "table", text)
    except UsageError:
        return
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz_0123456789.")
    assert 0 < len(text) <= 127


@given(st.integers(1, 200), st.integers(1, 200))
def test_two_faults_are_held_under_one_name_only_when_they_are_equal(a: int, b: int) -> None:
    names = {mark(SlowQuery(a)), mark(SlowQuery(b))}
    assert len(names) == (1 if a == b else 2)
    assert all(len(name) < 63 for name in names), "Postgres cuts application_name off there"
