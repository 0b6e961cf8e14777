"""The platform's tenants are metered, and held to limits while they are served."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from lab.actions import Read, Work
from lab.errors import UsageError
from lab.system import Governed, Metered

from .levers import call, many, refused
from .stacks import Held, Running, ask, held

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


def test_a_limit_holds_at_once_and_is_what_everybody_has_when_it_is_taken_away(
    stack: Held,
) -> None:
    async def body(running: Running) -> None:
        driver = running.driver
        assert isinstance(driver, Governed)
        tenant, session = await running.session()
        usual = await driver.limits(tenant)
        assert await driver.limit(tenant, "requests", 2.0) == 2.0
        assert await driver.limit(tenant, "sockets", 2.6) == 3.0
        assert refused(await many(session, 10, lambda n: Read("k"))) == 8
        assert (await driver.limits(tenant))["burst"] == 2.0
        for kind in ("requests", "sockets", "sockets"):
            await driver.unlimit(tenant, kind)
        assert await driver.limits(tenant) == usual
        with pytest.raises(UsageError, match="no quota 'luck'"):
            await driver.limit(tenant, "luck", 1.0)

    stack.do(body)


def test_a_limit_that_cannot_be_kept_is_not_held_to(stack: Held) -> None:
    async def body(running: Running) -> None:
        driver = running.driver
        assert isinstance(driver, Governed)
        tenant, _ = await running.session()
        before = await driver.limits(tenant)
        for wrong in ({"brust": None}, {"pids": 0}, {"burst": "many"}):
            with pytest.raises(AssertionError, match=": 400 "):
                await call(running, "admin", "PATCH", f"/tenants/{tenant.id}/quotas", wrong)
        assert await driver.limits(tenant) == before

    stack.do(body)


def test_everybodys_use_is_metered_in_one_call(stack: Held) -> None:
    async def body(running: Running) -> None:
        driver = running.driver
        assert isinstance(driver, Metered)
        tenant, session = await running.session()
        assert await ask(session, Work("cpu", 20), "1") == "None"
        assert not (await ask(session, Work("query", 20), "2")).startswith("refused")
        seen = (await driver.metered())[tenant.id]
        assert seen["cpu_ms"] >= 20
        assert seen["agent_cpu_ms"] >= 20
        assert seen["database_ms"] > 0
        assert seen["memory_mb"] > 1
        assert (seen["sockets"], seen["knocks"], seen["held"]) == (1.0, 1.0, 0.0)
        assert (seen["accepted"], seen["refused"]) == (2.0, 0.0)

    stack.do(body)
