"""Kills every part of the reference platform under load, and counts afterwards what it promised.

    python -m benchmarks.kills [COUNT] [VICTIM...]

Tenants write, spend and read all the while; a newcomer logs in again and again. Each victim gets
SIGKILL COUNT times (20 when absent); a service is started again, as an orchestrator would; an agent
is not, for that is the platform's own business. Told: how long until every tenant was answered
again, and whether each acknowledged write and spend is there exactly once, each refused one not at
all, and every balance the sum of its ledger.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from signal import SIGKILL
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast

import asyncpg
import msgspec
from aiohttp import ClientError
from websockets.exceptions import WebSocketException

from benchmarks.standing import leased, say
from lab.actions import Action, Read, Spend, Write
from lab.campaign import prepare
from lab.hands import AgentProcess
from lab.history import Outcome
from lab.load.client import Client, Flight
from lab.load.outcome import NOT_CONNECTED
from lab.load.wire import GeneratorPlan
from lab.stack.file import load, load_driver
from lab.stack.standing import Stack
from lab.system import Driver, Refused, Tenant, TenantPlan

SYSTEM = Path("compose/reference")
VICTIMS = ("postgres", "redis", "auth", "backend", "agent")
TENANTS, WORKERS, PAUSE_SECONDS = 6, 3, 0.06
DEADLINE_SECONDS, BACK_SECONDS, QUIET_SECONDS = 2.0, 30.0, 0.5
NOT_SERVED = (
    Refused,
    OSError,
    EOFError,
    RuntimeError,
    TimeoutError,
    WebSocketException,
    ClientError,
)
NEWCOMER, CREDITS, UNSENT = "newcomer", 1000, "unsent"
DOUBTS = {True: "done", False: "void", None: "unresolved"}
SPENT = "SELECT message_id, amount FROM credit_ledger WHERE tenant_id = $1"
WRITTEN = "SELECT id, content FROM messages WHERE tenant_id = $1"
BALANCE = "SELECT balance FROM credits WHERE tenant_id = $1"


class Resolving(Driver, Protocol):
    """A driver that can ask, afterwards, what became of messages that nobody answered."""

    async def resolve(self, tenant: Tenant, ops: Sequence[str]) -> dict[str, bool]:
        """op -> whether it was done; one that cannot be told is not in it."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One operation, as its client saw it; `began` is monotonic seconds."""

    op: str
    action: Action
    outcome: Outcome
    error: str
    began: float


@dataclass
class Worker:
    """One hand of a tenant: one operation at a time, on a key of its own."""

    client: Client
    flights: set[Flight]
    key: str
    seen: list[Seen] = field(default_factory=list[Seen])
    possible: set[str | None] = field(default_factory=lambda: {None})  # what the key may hold
    wrong_reads: list[str] = field(default_factory=list[str])

    async def work(self) -> None:
        """Write, spend and read until cancelled."""
        rng = Random(self.key)
        for n in count():
            op = f"{self.key}/{n}"
            kinds: list[Action] = [Write(self.key, op), Write(self.key, op), Spend(1)]
            await self._one(op, rng.choice([*kinds, Read(self.key)]))
            await asyncio.sleep(PAUSE_SECONDS * rng.uniform(0.5, 1.5))

    async def _one(self, op: str, action: Action) -> None:
        began = time.monotonic()
        flight = Flight()
        flight.task = asyncio.current_task()
        self.flights.add(flight)
        try:
            done = await self.client.perform(flight, action, op, DEADLINE_SECONDS)
        finally:
            self.flights.discard(flight)
        self.seen.append(Seen(op, action, done.outcome, done.error, began))
        match action, done.outcome:
            case Write(value=value), Outcome.OK:
                self.possible = {value}
            case Write(value=value), Outcome.INFO:
                self.possible.add(value)
            case Read(), Outcome.OK:
                found = msgspec.json.decode(done.received, type=dict[str, Any])["value"]
                if found not in self.possible:
                    self.wrong_reads.append(f"{op} read {found}, not {self.possible}")
                self.possible = {found}
            case _:
                pass


@dataclass
class Load:
    """Tenants at work, and the moments of their latest successes."""

    driver: Driver
    tenants: Sequence[Tenant]
    workers: dict[str, list[Worker]] = field(default_factory=dict[str, list[Worker]])
    running: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    logged_in: float = 0.0  # when the latest successful visit of the newcomer began

    async def rest(self) -> None:
        """Begin nothing any more; what is in flight is nobody's."""
        for task in self.running:
            task.cancel()
        if self.running:
            await asyncio.wait(self.running)

    def back_since(self, moment: float) -> bool:
        """Whether every tenant, and a newcomer, was served with what began after `moment`."""
        served = [
            any(s.outcome is Outcome.OK and s.began > moment for w in hands for s in w.seen[-20:])
            for hands in self.workers.values()
        ]
        return all(served) and self.logged_in > moment

    async def visit(self, tenant: Tenant) -> None:
        """Log in, read, leave; again and again."""
        for n in count():
            began = time.monotonic()
            with suppress(*NOT_SERVED):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    session = await self.driver.connect(tenant)
                    try:
                        await session.perform(Read("k"), op=f"visit-{n}", deadline_seconds=1.0)
                        self.logged_in = began
                    finally:
                        await session.close()
            await asyncio.sleep(0.1)


@asynccontextmanager
async def loaded(driver: Driver, stack: Stack, prefix: str) -> AsyncGenerator[Load]:
    """The load, running for the body; it has come to rest when this is left."""
    names = {f"tenant-{n}": "quiet" for n in range(TENANTS)} | {NEWCOMER: "quiet"}
    *tenants, newcomer = await driver.provision(TenantPlan(names, prefix, seed=1))
    plan = GeneratorPlan(SYSTEM, stack.site, tuple(tenants), 1, time.monotonic_ns())
    made = Load(driver, tenants)
    try:
        async with asyncio.TaskGroup() as tasks:
            made.running.append(tasks.create_task(made.visit(newcomer)))
            flights: set[Flight] = set()
            clients = [Client(tenant, driver, plan, tasks, flights) for tenant in tenants]
            for client in clients:
                assert not (why := await client.open()), why
                name = client.tenant.id
                hands = [Worker(client, flights, f"{name}-{n}") for n in range(WORKERS)]
                made.workers[client.tenant.id] = hands
                made.running += [tasks.create_task(hand.work()) for hand in hands]
            try:
                yield made
            finally:
                await made.rest()
                for client in clients:
                    await client.close()
    finally:
        await driver.retire([*tenants, newcomer])


@dataclass(frozen=True)
class Result:
    """What came of one victim's deaths. `back_seconds`: until everybody was served, by kill."""

    victim: str
    back_seconds: tuple[float, ...]
    outcomes: Counter[str]
    broken: tuple[str, ...]  # promises that were not kept, each in words
    doubts: Counter[str]  # what the platform said, afterwards, of writes and spends in doubt


async def drill(driver: Resolving, stack: Stack, victim: str, kills: int, prefix: str) -> Result:
    """Kill `victim` again and again under load; then hold everybody to what was promised."""
    back: list[float] = []
    async with loaded(driver, stack, prefix) as load:
        await _served(load, time.monotonic())
        for n in range(kills):
            since = await _struck(stack, victim, load.tenants[n % TENANTS].id)
            back.append(await _served(load, since) - since)
            await asyncio.sleep(QUIET_SECONDS)
        await load.rest()
        resolved = await _resolved(driver, load)
        broken = await _kept(stack, load, resolved)
    seen = [s for hands in load.workers.values() for w in hands for s in w.seen]
    outcomes = Counter(UNSENT if s.error == NOT_CONNECTED else s.outcome.name for s in seen)
    doubts = Counter(resolved.values())
    return Result(victim, tuple(back), outcomes, tuple(broken), doubts)


async def _struck(stack: Stack, victim: str, tenant: str) -> float:
    """Kill it; the moment from which the service can be expected back."""
    if victim != "agent":
        await stack.containers.kill(victim, SIGKILL)
        await stack.containers.start(victim)
        return time.monotonic()
    agent: AgentProcess = (await stack.containers.agents())[tenant]
    await stack.containers.kill_process(agent, SIGKILL)
    return time.monotonic()


async def _served(load: Load, since: float) -> float:
    """The moment when everybody is served again. Raises TimeoutError after BACK_SECONDS."""
    async with asyncio.timeout(BACK_SECONDS):
        while not load.back_since(since):  # noqa: ASYNC110 - polled, as a client would
            await asyncio.sleep(0.02)
    return time.monotonic()


async def _resolved(driver: Resolving, load: Load) -> dict[str, str]:
    """Each write and spend in doubt, and the platform's word: done, void or unresolved."""
    found: dict[str, str] = {}
    for tenant in load.tenants:
        seen = [s for hand in load.workers[tenant.id] for s in hand.seen]
        doubts = [
            s.op for s in seen if s.outcome is Outcome.INFO and not isinstance(s.action, Read)
        ]
        done = await driver.resolve(tenant, doubts) if doubts else {}
        found |= {op: DOUBTS[done.get(op)] for op in doubts}
    return found


async def _kept(stack: Stack, load: Load, resolved: Mapping[str, str]) -> list[str]:
    """Every promise against the database: what is broken, in words."""
    where, broken = stack.site.observers["postgres"], list[str]()
    connection: Any = await asyncpg.connect(
        host=where.host, port=where.port, user="observer", database="platform", ssl=False,
        password=stack.site.variables["OBSERVER_PASSWORD"], timeout=10,
    )  # fmt: skip
    try:
        for tenant, hands in load.workers.items():
            async with connection.transaction(isolation="repeatable_read"):
                spent = dict(await connection.fetch(SPENT, tenant))
                written = dict(await connection.fetch(WRITTEN, tenant))
                balance = await connection.fetchval(BALANCE, tenant)
            if balance != CREDITS + sum(spent.values()):
                broken.append(f"{tenant}: balance {balance}, ledger {sum(spent.values())}")
            for hand in hands:
                broken += hand.wrong_reads
                for seen in hand.seen:
                    there = seen.op in (spent if isinstance(seen.action, Spend) else written)
                    broken += _broken(seen, there, resolved.get(seen.op, ""))
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(connection.close(), 1.0)
    return broken


def _broken(seen: Seen, there: bool, said: str) -> list[str]:
    """A lie about a write or a spend: acknowledged and lost, refused and done, or a false word."""
    if isinstance(seen.action, Read):
        return []
    if seen.outcome is Outcome.OK and not there:
        return [f"{seen.op} was acknowledged and is lost"]
    if seen.outcome is Outcome.FAIL and there:
        return [f"{seen.op} was refused ({seen.error}) and is there"]
    if said in (DOUBTS[True], DOUBTS[False]) and there is not (said == DOUBTS[True]):
        return [f"{seen.op} is said to be {said} and is {'there' if there else 'not there'}"]
    return []


async def everything(kills: int, victims: Sequence[str]) -> bool:
    """Drill each victim on one stack and print the table; whether every promise was kept."""
    system = load(SYSTEM)
    await prepare([system], say)
    say(f"{'victim':10}{'kills':>6}{'back median':>13}{'max':>8}   outcomes; doubts; broken")
    kept = True
    with TemporaryDirectory() as name:
        async with leased(system, Path(name), cohorts=("quiet",), say=say) as stack:
            driver = cast(Resolving, load_driver(system.driver)(stack.site))
            try:
                for n, victim in enumerate(victims):
                    result = await drill(driver, stack, victim, kills, f"k{n}")
                    _tell(result)
                    kept = kept and not result.broken
            finally:
                await driver.close()
    return kept


def _tell(result: Result) -> None:
    back = result.back_seconds
    doubts = " ".join(f"{name} {n}" for name, n in sorted(result.doubts.items())) or "none"
    outcomes = " ".join(f"{name.lower()} {n}" for name, n in sorted(result.outcomes.items()))
    say(
        f"{result.victim:10}{len(back):6}{median(back):11.2f} s{max(back):6.2f} s   {outcomes}; "
        f"{doubts}; {len(result.broken)} broken"
    )
    for line in result.broken[:10]:
        say(f"    {line}")


def main() -> None:
    """As the command line says."""
    words = sys.argv[1:]
    kills = int(words.pop(0)) if words and words[0].isdecimal() else 20
    sys.exit(0 if asyncio.run(everything(kills, words or VICTIMS)) else 1)


if __name__ == "__main__":
    main()
