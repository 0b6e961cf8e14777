"""Rules about what the lab does to the system: freeze it, cut it off, count what is left in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from lab.actions import Action, List, Read, Work, Write
from lab.conformance.bench import COHORTS, Bench, Broken, Untried, rule
from lab.system import Ability, Session

FIRST, SECOND = COHORTS
SHORT_SECONDS, GRACE_SECONDS = 0.5, 0.5
"""A deadline while nobody answers, and by how much a session may overrun it."""

CONNECT_SECONDS = 3.0
KEPT = ("rows", "keys")
"""What a tenant may leave behind in peace; the rest goes with its connection, not with `retire`."""


def harmless(bench: Bench) -> Action | None:
    """An action that the driver claims and that anybody may do at any time."""
    known: tuple[Action, ...] = (Read("check-key"), List(), Write("check-key", "v"), Work("cpu", 1))
    return next((each for each in known if type(each) in bench.driver.actions), None)


@rule(
    "a deadline is kept while nobody answers",
    mend="perform raises TimeoutError once deadline_seconds are over, whatever the system does",
)
async def deadline(bench: Bench) -> str:
    """The services at the entrances are frozen; the answer then has to be a time-out in time."""
    action = harmless(bench)
    if action is None:
        raise Untried("the driver claims no action to try this with")
    if not bench.fronts:
        raise Untried("no entrance leads to a service that can be frozen")
    (tenant,) = await bench.tenants(FIRST)
    session = await bench.connect(tenant)
    await bench.ask(session, action)
    loop = asyncio.get_running_loop()
    async with _frozen(bench):
        began, how = loop.time(), "it was answered"
        try:
            async with asyncio.timeout(SHORT_SECONDS + GRACE_SECONDS):
                await session.perform(action, op="check-late", deadline_seconds=SHORT_SECONDS)
        except TimeoutError:
            how = ""
        took = loop.time() - began
    if how or took >= SHORT_SECONDS + GRACE_SECONDS:
        raise Broken(how or f"a deadline of {SHORT_SECONDS} s, and no end after {took:.1f} s")
    await bench.ask(await bench.connect(tenant), action)
    return f"{took:.2f} s for {SHORT_SECONDS} s"


@asynccontextmanager
async def _frozen(bench: Bench) -> AsyncGenerator[None]:
    try:
        for service in bench.fronts:
            await bench.containers.pause(service, True)
        yield
    finally:
        for service in bench.fronts:
            await bench.containers.pause(service, False)


@rule(
    "each cohort goes in by its own entrance",
    mend="connect through site.entrance(name, tenant.cohort), never a kept address: a fault on one "
    "cohort must not touch another",
)
async def entrances(bench: Bench) -> str:
    """The second cohort's entrances are shut: it stays outside, and the first does not notice."""
    if not bench.ways:
        raise Untried("no entrance has a proxy per cohort")
    (inside, outside) = await bench.tenants(FIRST, SECOND)
    async with _shut(bench):
        await bench.connect(inside)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                session = await bench.connect(outside)
        except Exception as error:  # noqa: BLE001 - any failure to connect is right
            return f"{SECOND} alone was kept out: {type(error).__name__}"
        if not await _answers(bench, session):
            return f"{SECOND} alone was kept out"
    raise Broken(f"{', '.join(bench.ways)} was shut for the cohort {SECOND}, and it got in")


async def _answers(bench: Bench, session: Session) -> bool:
    """Whether a session that was opened is more than a promise."""
    action = harmless(bench)
    if action is None:
        raise Untried("the driver claims no action to tell whether a session is inside")
    try:
        await bench.ask(session, action)
    except (OSError, RuntimeError, TimeoutError, EOFError):
        return False
    return True


@asynccontextmanager
async def _shut(bench: Bench) -> AsyncGenerator[None]:
    try:
        for name in bench.ways:
            await bench.links.enable(f"{name}@{SECOND}", False)
        yield
    finally:
        for name in bench.ways:
            await bench.links.enable(f"{name}@{SECOND}", True)


@rule(
    "nothing is left of a tenant that said goodbye",
    ability=Ability.CENSUS,
    mend="after close no session, process or lock is left of the tenant; retire removes its rows "
    "and keys, and census lists only what tenants hold",
)
async def closed(bench: Bench) -> str:
    """Provisioned, connected, used, closed, retired: the census of before."""
    return await _come_and_gone(bench, aborted=False)


@rule(
    "nothing is left of a tenant whose connection broke",
    ability=Ability.CENSUS,
    mend="a connection that ends without a goodbye gives back the same, and before retire: reap "
    "its process, close its session, release its locks",
)
async def aborted(bench: Bench) -> str:
    """The same with a connection that is dropped."""
    return await _come_and_gone(bench, aborted=True)


async def _come_and_gone(bench: Bench, *, aborted: bool) -> str:
    before = await bench.driver.census()
    (tenant,) = await bench.tenants(FIRST)
    session = await bench.connect(tenant)
    for action in (Write("check-key", "v"), Read("check-key"), Work("cpu", 1)):
        if type(action) in bench.driver.actions:
            await bench.ask(session, action)
    if await bench.driver.census() == before:
        raise Broken("a tenant holds something, and the census does not show it")
    bench.opened.remove(session)
    if aborted:
        session.abort()
    else:
        await session.close()
    await bench.settles(before, but=KEPT)
    await bench.driver.retire([tenant])
    bench.made.remove(tenant)
    await bench.settles(before)
    return f"{len(before)} kinds counted"


@rule(
    "a tenant can be retired twice",
    mend="retire of what is gone already is fine: a run that was interrupted retires again",
)
async def retired_twice(bench: Bench) -> str:
    """Retired, and once more."""
    tenants = await bench.tenants(FIRST, SECOND)
    await bench.driver.retire(tenants)
    await bench.driver.retire(tenants)
    bench.made.clear()
    return ""


RULES = (deadline, entrances, closed, aborted, retired_twice)
