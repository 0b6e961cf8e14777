"""Faults inside the platform's own stores and stubs: felt by whom they are meant for."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import pytest

from faults.postgres import LockHold, TerminateBackends
from faults.postgres_server import PostgresReadOnly
from faults.redis import KeyExpire
from faults.services import HttpError
from faults.tenants import Flood
from lab.actions import Read, Write
from lab.hands import Lab
from lab.hands.real.clients import tenant_clients
from lab.stack.file import load, load_driver
from lab.system import Tenant
from tests.compose.reference.stacks import SYSTEM, Held, Running, ask, eventually, held

pytestmark = pytest.mark.docker
WRITE, READ = Write("k", "v"), Read("k")


@pytest.fixture(scope="module")
def up() -> Generator[Held]:
    with held(mode="shared") as stack:
        yield stack


BETWEEN_TURNS = 3
"""Of 15: a pooled session may be ended just as it goes from one tenant to the next."""


def lab_of(running: Running, *tenants: Tenant) -> Lab:
    """The lab, with tenants by the names they have in faults: `a`, `b`."""
    names = dict(zip("ab", (tenant.id for tenant in tenants), strict=False))
    return replace(running.stack.lab, tenants=names)


def test_a_lock_on_one_tenants_rows_stops_its_writes_and_nobody_elses(up: Held) -> None:
    async def story(running: Running) -> None:
        a, b = await running.tenants(2)
        first, second = await running.connect(a), await running.connect(b)
        assert await ask(first, WRITE, "w0") == "None"
        lab, fault = lab_of(running, a, b), LockHold("a", "threads")
        await fault.inject(lab)
        try:
            assert await ask(first, WRITE, "w1", 1.0) != "None"
            assert await ask(second, WRITE, "w2") == "None"
        finally:
            await fault.heal(lab)
        assert await ask(first, WRITE, "w3") == "None"

    up.do(story)


def test_the_platforms_sessions_are_known_by_their_tenant(up: Held) -> None:
    async def story(running: Running) -> None:
        a, b = await running.tenants(2)
        first, second = await running.connect(a), await running.connect(b)
        lab, fault = lab_of(running, a, b), TerminateBackends("a", every_ms=1)
        before = await fault.observe(lab)
        await fault.inject(lab)
        try:
            others = 0
            for n in range(15):
                await ask(first, WRITE, f"a{n}", 1.0)
                others += await ask(second, WRITE, f"b{n}") != "None"
            assert others <= BETWEEN_TURNS, "other tenants' sessions are ended as a rule"

            async def ended() -> bool:
                return await fault.observe(lab) != before

            await eventually(ended)
        finally:
            await fault.heal(lab)

    up.do(story)


def test_a_read_only_database_refuses_writes_and_serves_reads(up: Held) -> None:
    async def story(running: Running) -> None:
        (a,) = await running.tenants()
        session = await running.connect(a)
        assert await ask(session, WRITE, "w0") == "None"
        lab, fault = lab_of(running, a), PostgresReadOnly()
        await fault.inject(lab)
        try:
            assert await ask(session, WRITE, "w1") != "None"
            assert await ask(session, READ, "r1") == "v"
        finally:
            await fault.heal(lab)
        assert await ask(session, WRITE, "w2") == "None"

    up.do(story)


def test_a_tenant_whose_state_expires_still_reads_what_it_wrote(up: Held) -> None:
    async def story(running: Running) -> None:
        (a,) = await running.tenants()
        session = await running.connect(a)
        assert await ask(session, WRITE, "w0") == "None"
        lab, fault = lab_of(running, a), KeyExpire("a", 20)
        before = await fault.observe(lab)
        await fault.inject(lab)
        try:

            async def expired() -> bool:
                return await fault.observe(lab) != before

            await eventually(expired)
            assert await ask(session, READ, "r1") == "v"
        finally:
            await fault.heal(lab)

    up.do(story)


def test_a_model_that_fails_is_felt_and_then_answers_again(up: Held) -> None:
    async def story(running: Running) -> None:
        (a,) = await running.tenants()
        session = await running.connect(a)
        lab, fault = lab_of(running, a), HttpError("llm")
        await fault.inject(lab)
        try:
            assert await ask(session, WRITE, "w1") != "None"
        finally:
            await fault.heal(lab)

        async def answers() -> bool:
            return await ask(session, READ, "r1") in ("v", "None")

        await eventually(answers)

    up.do(story)


def test_a_flood_is_the_tenants_own_and_ends_with_its_heal(up: Held) -> None:
    async def story(running: Running) -> None:
        (a,) = await running.tenants()
        driver = load(SYSTEM).driver
        named = replace(a, name="a")
        async with tenant_clients(
            load_driver(driver), driver, running.stack.site, [named]
        ) as clients:
            lab, fault = replace(lab_of(running, a), clients=clients), Flood("a", 50.0, "read")
            await fault.inject(lab)

            async def answered() -> bool:
                seen = await fault.observe(lab)
                return sum(n for name, n in seen.items() if name.endswith(".answered")) > 5

            await eventually(answered)
            await fault.heal(lab)

    up.do(story)
