"""What the reference platform costs: `python -m benchmarks.platform`.

    answer p95, CPU each   100 tenants, a socket each, 20 messages each one after the other, all at
                           once, the model at zero delay; beside a bare Starlette WebSocket echo
                           with the same client, the same proxy, in the same run
    open at once           1,000 sockets of 100 tenants: how many came, what a further one costs
    an idle tenant         memory of everything that 40 connected, idle tenants brought, by mode

CPU and memory are the kernel's own counts of whole containers. Ratios compare between machines.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles
from typing import Any, cast

import msgspec

from benchmarks.standing import leased
from lab.actions import Action, Read, Write
from lab.campaign import prepare
from lab.engine.api import engine
from lab.stack.file import SystemFile, load, load_driver
from lab.stack.plan import TOXIPROXY
from lab.stack.standing import Stack
from lab.system import Driver, Refused, Session, Tenant, TenantPlan

SYSTEM, ECHO = Path("compose/reference"), Path("benchmarks/starlette_echo")
TENANTS, MESSAGES, SOCKETS, IDLE = 100, 20, 1_000, 40
CONNECTING = 16
"""Logins in flight at once: a password is hashed for each."""

DEADLINE_SECONDS = 15.0
FRONT = {SYSTEM.name: ("backend", "agent"), ECHO.name: ("echo",)}


@dataclass(frozen=True, slots=True)
class Used:
    """What containers used so far: CPU seconds, and memory that is not file cache, in bytes."""

    cpu_seconds: float
    memory_bytes: int


class Usage(msgspec.Struct):
    """Of CPU, in nanoseconds."""

    total_usage: int


class Cpu(msgspec.Struct):
    """The engine's own words."""

    cpu_usage: Usage


class Memory(msgspec.Struct):
    """Nothing of it is there when a container has ended."""

    usage: int = 0
    stats: dict[str, int] = {}


class Stats(msgspec.Struct):
    """What the engine counts of a container."""

    cpu_stats: Cpu
    memory_stats: Memory


def used(run: str, services: Sequence[str] = ()) -> Used:
    """The sum over the run's containers of these services; of all but the proxy when none is named.

    The proxy is the lab's, and in front of both.
    """
    cpu = memory = 0
    with engine() as client:
        for box in client.standing():
            if box.run != run or box.service == TOXIPROXY:
                continue
            if not services or box.service in services:
                seen = cast("Any", client.client).stats(box.id, stream=False, one_shot=True)
                stats = msgspec.convert(seen, Stats)
                cpu += stats.cpu_stats.cpu_usage.total_usage
                kept = stats.memory_stats.stats
                cache = kept.get("total_inactive_file", kept.get("inactive_file", 0))
                memory += stats.memory_stats.usage - cache
    return Used(cpu / 1e9, memory)


def without_delay(system: SystemFile) -> SystemFile:
    """The same system, with a model that answers at once."""
    if "llm" not in system.services:
        return system
    llm = msgspec.structs.replace(system.services["llm"], environment={"LLM_DELAY_MS": "0"})
    return replace(system, services={**system.services, "llm": llm})


@dataclass(frozen=True)
class Up:
    """A system that stands, and its driver."""

    run: str
    stack: Stack
    driver: Driver
    services: tuple[str, ...]

    def used(self) -> Used:
        """What the services that serve tenants used so far."""
        return used(self.run, self.services)


@asynccontextmanager
async def up(folder: Path, mode: str = "") -> AsyncGenerator[Up]:
    """The system, for the body."""
    system = without_delay(load(folder))
    with tempfile.TemporaryDirectory() as name:
        async with leased(system, Path(name), cohorts=("all",), mode=mode) as stack:
            driver = stack.driver(load_driver(system.driver))(stack.site)
            try:
                yield Up(stack.start.run, stack, driver, FRONT[folder.name])
            finally:
                await driver.close()


async def tenants(driver: Driver, count: int, prefix: str) -> Sequence[Tenant]:
    """New ones."""
    plan = TenantPlan({f"tenant-{n}": "all" for n in range(count)}, prefix, seed=1)
    return await driver.provision(plan)


async def connected(driver: Driver, wanted: Sequence[Tenant]) -> list[Session | str]:
    """A session for each, or the reason why there is none."""
    slots = asyncio.Semaphore(CONNECTING)

    async def one(tenant: Tenant) -> Session | str:
        async with slots:
            try:
                return await driver.connect(tenant)
            except Exception as error:  # noqa: BLE001 - counted and told
                return f"{type(error).__name__}: {error}"

    return list(await asyncio.gather(*(one(tenant) for tenant in wanted)))


def sessions(found: Sequence[Session | str]) -> list[Session]:
    """Those that came."""
    return [each for each in found if not isinstance(each, str)]


async def closed(found: Sequence[Session | str]) -> None:
    """Close those that came."""
    await asyncio.gather(*(each.close() for each in sessions(found)))


def action(driver: Driver, n: int) -> Action:
    """Writes and reads in turn, as far as the system has both."""
    return Write("note", f"note {n}") if n % 2 == 0 and Write in driver.actions else Read("note")


async def conversation(driver: Driver, session: Session, name: str) -> list[float]:
    """Seconds of each answer of one tenant's messages; one that is not answered has none."""
    took: list[float] = []
    for n in range(MESSAGES):
        began = time.perf_counter()
        with suppress(Refused, TimeoutError):
            await session.perform(
                action(driver, n), op=f"{name}/{n}", deadline_seconds=DEADLINE_SECONDS
            )
            took.append(time.perf_counter() - began)
    return took


@dataclass(frozen=True, slots=True)
class Talk:
    """100 tenants' messages: p95 of their answers, CPU for each, and how many a second.

    cpu_ms: of the service that has the sockets, with its agents; all_ms: of every service.
    """

    p95_ms: float
    cpu_ms: float
    all_ms: float
    per_second: float
    answered: float


async def talk(folder: Path) -> Talk:
    """Connect all tenants, then let all of them talk at once; the first round is to warm up."""
    async with up(folder) as at:
        made = await tenants(at.driver, TENANTS, "talk")
        found = await connected(at.driver, made)
        there = sessions(found)
        assert len(there) == TENANTS, [each for each in found if isinstance(each, str)][:3]
        for warm in (True, False):
            await asyncio.sleep(0 if warm else 2.0)  # a token bucket fills up again
            everything, before, began = used(at.run), at.used(), time.perf_counter()
            rounds = (conversation(at.driver, s, f"{warm}/{n}") for n, s in enumerate(there))
            answers = [took for each in await asyncio.gather(*rounds) for took in each]
            seconds, after, at_last = time.perf_counter() - began, at.used(), used(at.run)
        await closed(found)

    def each_ms(later: Used, earlier: Used) -> float:
        return (later.cpu_seconds - earlier.cpu_seconds) / len(answers) * 1000

    p95_ms = quantiles(answers, n=20)[-1] * 1000
    own_ms, all_ms = each_ms(after, before), each_ms(at_last, everything)
    sent = TENANTS * MESSAGES
    return Talk(p95_ms, own_ms, all_ms, len(answers) / seconds, 100 * len(answers) / sent)


async def crowd() -> None:
    """1,000 sockets at once."""
    async with up(SYSTEM) as at:
        made = await tenants(at.driver, TENANTS, "crowd")
        first = await connected(at.driver, made)  # agents are up: what follows is sockets alone
        before, began = at.used(), time.perf_counter()
        more = [tenant for _ in range(SOCKETS // TENANTS - 1) for tenant in made]
        rest = await connected(at.driver, more)
        seconds, after = time.perf_counter() - began, at.used()
        there = sessions(rest)
        asked = [
            s.perform(Read("k"), op=f"c-{n}", deadline_seconds=15.0) for n, s in enumerate(there)
        ]
        answered = await asyncio.gather(*asked, return_exceptions=True)
        ok = sum(not isinstance(each, BaseException) for each in answered)
        kb = (after.memory_bytes - before.memory_bytes) / max(1, len(there)) / 1024
        cpu_ms = (after.cpu_seconds - before.cpu_seconds) / max(1, len(there)) * 1000
        come = len(sessions(first)) + len(there)
        print(f"open at once     {come} of {SOCKETS}; {ok} of {len(there)} further ones answered")
        took_ms = seconds / len(more) * 1000
        print(f"a further socket {took_ms:.1f} ms, {cpu_ms:.1f} ms CPU, {kb:.1f} kB")
        why = sorted({each for each in (*first, *rest) if isinstance(each, str)})
        print(f"kept out by      {', '.join(why[:3]) or 'nothing'}")
        await closed([*first, *rest])


async def idle() -> None:
    """Memory of an idle tenant, by mode."""
    for mode in load(SYSTEM).modes:
        async with up(SYSTEM, mode) as at:
            made = await tenants(at.driver, IDLE + 1, "idle")
            warm = await connected(at.driver, made[:1])
            before = used(at.run)
            found = await connected(at.driver, made[1:])
            after = used(at.run)
            there = max(1, len(sessions(found)))
            kb = (after.memory_bytes - before.memory_bytes) / there / 1024
            print(f"{mode:16} {kb:9.0f} kB an idle tenant ({len(sessions(found))} of {IDLE})")
            await closed([*warm, *found])
            await at.driver.retire(made)


async def measured() -> None:
    """Everything, in turn."""
    await prepare([load(SYSTEM)], print)
    echo, ours = await talk(ECHO), await talk(SYSTEM)
    print(f"{TENANTS} tenants, {MESSAGES} messages each, all at once")
    print(f"{'':16}{'platform':>10}{'echo':>10}{'ratio':>8}")
    for name, mine, bare in (
        ("answer p95, ms", ours.p95_ms, echo.p95_ms),
        ("CPU each, ms", ours.cpu_ms, echo.cpu_ms),
        ("  all services", ours.all_ms, echo.all_ms),
        ("a second", ours.per_second, echo.per_second),
        ("answered, %", ours.answered, echo.answered),
    ):
        print(f"{name:16}{mine:10.2f}{bare:10.2f}{mine / bare:8.2f}")
    await crowd()
    await idle()


def main() -> None:
    """As `make bench` runs it."""
    sys.stdout.flush()
    asyncio.run(measured())


if __name__ == "__main__":
    main()
