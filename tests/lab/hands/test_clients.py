"""Tenants that misbehave, on a fake backend with real sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio
import pytest

from lab.errors import UsageError
from lab.hands.clients import Manner, What
from lab.hands.real.clients import NoClients, TenantClients, tenant_clients
from lab.stack.file import load_driver
from lab.system import Driver, Site, Tenant, TenantPlan
from tests.fakes.server import DRIVER_FILE, FakeBackend, fake_backend

NAME = "lab:test"
SECONDS = 5.0


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Look again until it is true; a time-out when it never is."""
    with anyio.fail_after(SECONDS):
        while not await true():  # noqa: ASYNC110 - seen from outside, nothing tells us
            await anyio.sleep(0.01)


def told(story: Callable[[FakeBackend, TenantClients], Awaitable[None]]) -> None:
    """Run a story with one tenant, `noisy-0`, on a fresh backend."""

    async def body() -> None:
        async with fake_backend() as backend:
            build = load_driver(DRIVER_FILE)
            plan = TenantPlan({"noisy-0": "noisy"}, "t", seed=1)
            made = await build(backend.site).provision(plan)
            async with tenant_clients(build, DRIVER_FILE, backend.site, made) as clients:
                await story(backend, clients)
            await until(gone(backend))

    anyio.run(body)


def gone(backend: FakeBackend) -> Callable[[], Awaitable[bool]]:
    async def quiet() -> bool:
        return not backend.sessions.get("t-noisy-0")

    return quiet


def more(clients: TenantClients, name: str, least: float) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        counts: Mapping[str, float] = await clients.counts(NAME)
        return counts.get(name, 0.0) >= least

    return enough


@pytest.mark.parametrize(
    ("what", "counted"),
    [
        ("flood", "answered"),
        ("poison", "answered"),
        ("cancel", "connected"),
        ("hang_up", "connected"),
        ("reconnect", "connected"),
        ("deaf", "sent"),
        ("garbage", "sent"),
    ],
)
def test_every_misbehaviour_does_something_and_leaves_nothing(what: What, counted: str) -> None:
    async def story(backend: FakeBackend, clients: TenantClients) -> None:
        await clients.begin(NAME, Manner(what, "noisy-0", 50.0, connections=2, amount_ms=200))
        await until(more(clients, counted, 6))
        await clients.end(NAME)

        await until(gone(backend))
        counts = await clients.counts(NAME)
        await clients.end(NAME)
        assert await clients.counts(NAME) == counts, "it went on after its end"

    told(story)


def test_a_flood_asks_as_often_as_it_was_told() -> None:
    async def story(backend: FakeBackend, clients: TenantClients) -> None:
        began = anyio.current_time()
        await clients.begin(NAME, Manner("flood", "noisy-0", 100.0, action="read"))
        await until(more(clients, "sent", 50))
        assert anyio.current_time() - began >= 0.4
        assert backend.seen["read"] > 0

    told(story)


def test_a_slow_consumer_is_answered_and_never_reads() -> None:
    async def story(backend: FakeBackend, clients: TenantClients) -> None:
        await clients.begin(NAME, Manner("deaf", "noisy-0", 50.0, action="read"))
        await until(more(clients, "sent", 5))
        assert backend.seen["read"] >= 1
        assert (await clients.counts(NAME)).get("answered", 0.0) == 0

    told(story)


def test_a_tenant_that_is_not_let_in_goes_on_trying() -> None:
    async def story(backend: FakeBackend, clients: TenantClients) -> None:
        backend.manners.shut = True
        await clients.begin(NAME, Manner("reconnect", "noisy-0", 50.0))
        await until(more(clients, "lost", 3))
        backend.manners.shut = False
        await until(more(clients, "connected", 1))

    told(story)


def test_what_cannot_be_done_is_refused_before_it_begins() -> None:
    async def story(backend: FakeBackend, clients: TenantClients) -> None:
        for manner, why in (
            (Manner("flood", "nobody", 1.0), "no tenant"),
            (Manner("flood", "noisy-0", 1e6), "more than the lab can do"),
        ):
            with pytest.raises(UsageError, match=why):
                await clients.begin(NAME, manner)
        with pytest.raises(UsageError, match="cannot end a tenant's tokens"):
            await clients.revoke("noisy-0")

    told(story)


def test_a_driver_that_can_revoke_is_asked_to() -> None:
    revoked: list[str] = []
    build = load_driver(DRIVER_FILE)

    async def revoke(tenants: Sequence[Tenant]) -> None:
        revoked.extend(tenant.id for tenant in tenants)

    def able(site: Site) -> Driver:
        driver = build(site)
        object.__setattr__(driver, "revoke", revoke)
        return driver

    async def body() -> None:
        async with fake_backend() as backend:
            made = (Tenant("noisy-0", "t-0", "noisy"),)
            async with tenant_clients(able, DRIVER_FILE, backend.site, made) as clients:
                await clients.revoke("noisy-0")

    anyio.run(body)
    assert revoked == ["t-0"]


def test_without_tenants_there_is_nobody_to_misbehave() -> None:
    async def body() -> None:
        clients = NoClients()
        await clients.end(NAME)
        with pytest.raises(UsageError, match="there are no tenants yet"):
            await clients.begin(NAME, Manner("flood", "noisy-0", 1.0))

    anyio.run(body)


def test_what_was_built_only_to_look_is_closed() -> None:
    closed: list[Driver] = []
    build = load_driver(DRIVER_FILE)

    def told_when_closed(site: Site) -> Driver:
        driver = build(site)
        close = driver.close

        async def closing() -> None:
            closed.append(driver)
            await close()

        object.__setattr__(driver, "close", closing)
        return driver

    async def body() -> None:
        async with fake_backend() as backend:
            made = (Tenant("noisy-0", "t-0", "noisy"),)
            async with tenant_clients(told_when_closed, DRIVER_FILE, backend.site, made) as clients:
                with pytest.raises(UsageError, match="more than the lab can do"):
                    await clients.begin(NAME, Manner("flood", "noisy-0", 1e6))

    anyio.run(body)
    assert len(closed) == 1
