# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""What goes on behind the answers: bounded, told when it fails, and no tenant's alone to stop."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import asyncpg
import pytest
from reference_platform import outbox, pool, quota_store, upkeep
from reference_platform.admission import Admission
from reference_platform.problems import Problem
from reference_platform.quotas import Quotas


class Hanging:
    """A database that hangs for the tenant `stuck`, and has nothing for the others."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.more = anyio.Event()

    @asynccontextmanager
    async def tenant_tx(self, tenant: str, until: float) -> AsyncGenerator[Hanging]:
        if tenant == "stuck":
            await anyio.sleep_forever()
        self.asked.add(tenant)
        self.more.set()
        self.more = anyio.Event()
        yield self

    async def all_of(self, tenants: set[str]) -> None:
        while self.asked != tenants:
            await self.more.wait()

    async def fetch(self, *words: object) -> list[object]:
        return []


def test_one_stuck_tenant_delays_nobody_s_events() -> None:
    async def body() -> None:
        database = Hanging()
        relay = outbox.Relay(database)
        others = {f"t{n}" for n in range(3 * upkeep.AT_ONCE)}
        for tenant in ("stuck", *others):
            relay.wake(tenant)
        async with anyio.create_task_group() as group:
            group.start_soon(relay.run)
            with anyio.fail_after(outbox.PAUSE_SECONDS + outbox.TRY_SECONDS / 2):
                await database.all_of(others)
            group.cancel_scope.cancel()

    anyio.run(body)


def test_work_for_all_tenants_goes_on_after_one_of_them_and_so_does_work_for_ever(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def body() -> None:
        done, twice = [], anyio.Event()

        async def work(tenant: str) -> None:
            if tenant == "broken":
                raise ZeroDivisionError("words of a tenant")
            done.append(tenant)

        async def rounds() -> None:
            await upkeep.each(["broken", "fine"], work)
            if len(done) == 2:
                twice.set()
            raise ZeroDivisionError

        async with anyio.create_task_group() as group:
            group.start_soon(upkeep.for_ever, "it", rounds)
            with anyio.fail_after(2):
                await twice.wait()
            group.cancel_scope.cancel()

    anyio.run(body)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["error"] for line in told} == {"ZeroDivisionError"}
    assert {line.get("tenant") or line["work"] for line in told} == {"broken", "it"}


class Failing:
    """A database that fails in one way."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    @asynccontextmanager
    async def tenant_tx(self, tenant: str, until: float) -> AsyncGenerator[Failing]:
        if self.error:
            raise self.error
        await anyio.sleep_forever()
        yield self


@pytest.mark.parametrize(
    "error", [None, Problem("postgres_unavailable"), asyncpg.QueryCanceledError("late")]
)
def test_quotas_that_cannot_be_read_in_time_stay_as_they_are(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota_store, "REFRESH_SECONDS", 0.05)

    async def body() -> None:
        admission = Admission(Quotas(sockets=3))
        with anyio.fail_after(2):
            await quota_store.refresh(admission, Failing(error), "a", anyio.current_time())
        assert admission.quotas("a").sockets == 3

    anyio.run(body)


def test_a_pool_keeps_no_more_connections_than_its_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SimpleNamespace] = []

    async def connect(login: object) -> SimpleNamespace:
        one = SimpleNamespace(closed=False, is_in_transaction=lambda: False)
        one.is_closed = lambda: one.closed
        one.terminate = lambda: setattr(one, "closed", True)
        one.execute = lambda *words, timeout: anyio.lowlevel.checkpoint()
        made.append(one)
        return one

    monkeypatch.setattr(pool, "connect", connect)

    async def body() -> None:
        login = SimpleNamespace(connect_seconds=1.0)
        held = pool.Pool(login, size_min=1, size_max=2)
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(held.probe)
        taken = [await held.take() for _ in range(5)]
        for each in taken:
            held.give(each, healthy=True)
        assert sum(not each.closed for each in made) == 2
        assert (held.counters()["idle"], held.counters()["taken"]) == (2, 0)

    anyio.run(body)
