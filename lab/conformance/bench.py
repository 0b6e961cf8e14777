"""What a rule works with: fresh tenants and sessions, and one way to say that it does not hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, TypeVar

from lab.actions import Action
from lab.errors import ExitCode, LabError, Refused
from lab.hands import Containers, Links
from lab.system import Ability, Census, Driver, Reply, Session, Tenant, TenantPlan

COHORTS = ("first", "second")
RULE_SECONDS = 20.0
"""A rule that is not through by then is broken."""

ASK_SECONDS = 3.0
"""The deadline of an ordinary action."""

SETTLE_SECONDS = 8.0
"""How long a system may take to give back what a tenant held."""

T = TypeVar("T")
Status = Literal["ok", "bad", "skipped"]


class Broken(Exception):  # noqa: N818 - a rule's own word: it does not hold
    """The rule does not hold, and why."""


class Untried(Exception):  # noqa: N818 - as above
    """The rule says nothing about this system, and why: there is nothing to try it with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check went. `mend`: what to do when it is bad; `code`: what it then exits with."""

    check: str
    status: Status
    detail: str = ""
    mend: str = ""
    code: ExitCode = ExitCode.VIOLATED

    def __str__(self) -> str:
        label = {"ok": "ok     ", "bad": "BAD    ", "skipped": "skipped"}[self.status]
        detail = f": {self.detail}" if self.detail else ""
        advice = f"\n          -> {self.mend}" if self.mend and self.status == "bad" else ""
        return f"{label} {self.check}{detail}{advice}"


@dataclass
class Bench:
    """A standing system and its driver. `fronts`: services that entrances lead to, to be frozen;
    `ways`: entrances with a proxy for each cohort."""

    driver: Driver
    links: Links
    containers: Containers
    abilities: Collection[Ability] = ()
    fronts: Collection[str] = ()
    ways: Collection[str] = ()
    made: list[Tenant] = field(default_factory=list[Tenant])
    opened: list[Session] = field(default_factory=list[Session])
    numbers: count[int] = field(default_factory=lambda: count(1))

    async def tenants(self, *cohorts: str) -> list[Tenant]:
        """New tenants, one for each of these cohorts."""
        names = {f"{cohort}-{n}": cohort for n, cohort in enumerate(cohorts)}
        plan = TenantPlan(names, prefix=f"check{next(self.numbers)}", seed=1)
        found = list(await self.driver.provision(plan))
        self.made += found
        return found

    async def connect(self, tenant: Tenant) -> Session:
        """A session that is closed after the rule."""
        session = await self.driver.connect(tenant)
        self.opened.append(session)
        return session

    async def session(self, cohort: str = COHORTS[0]) -> Session:
        """A new tenant's session."""
        (tenant,) = await self.tenants(cohort)
        return await self.connect(tenant)

    async def ask(self, session: Session, action: Action, op: str = "") -> Reply:
        """Perform it under an id of its own, or under `op`."""
        op = op or f"check-op-{next(self.numbers)}"
        return await session.perform(action, op=op, deadline_seconds=ASK_SECONDS)

    async def refused(self, session: Session, action: Action) -> str:
        """The words of the refusal; empty when the action was done."""
        try:
            await self.ask(session, action)
        except Refused as error:
            return str(error) or "refused"
        return ""

    async def settles(self, before: Census, but: Collection[str] = ()) -> None:
        """Wait until the census is the one before, the kinds `but` left out.

        Raises Broken with what is left.
        """
        before = _without(but, before)
        left: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while left := difference(  # noqa: ASYNC110
                    before, _without(but, await self.driver.census())
                ):
                    await asyncio.sleep(0.1)
        if left:
            raise Broken(f"after {SETTLE_SECONDS:g} s: {', '.join(left[:3])}")

    async def cleared(self) -> None:
        """Close and retire what the rule left; a driver that cannot has shown it elsewhere."""
        while self.opened:
            session = self.opened.pop()
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await session.close()
            except Exception:  # noqa: BLE001 - whatever it raises, `abort` is what remains
                session.abort()
        made, self.made = self.made, []
        if made:
            await self.driver.retire(made)


def _without(kinds: Collection[str], census: Census) -> Census:
    return {kind: found for kind, found in census.items() if kind not in kinds}


def difference(before: Census, now: Census) -> list[str]:
    """What came (`+`) and went (`-`), kind by kind."""
    found: list[str] = []
    for kind in sorted({*before, *now}):
        old, new = set(before.get(kind, ())), set(now.get(kind, ()))
        found += [f"+{kind} {name}" for name in sorted(new - old)]
        found += [f"-{kind} {name}" for name in sorted(old - new)]
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that every driver and its system must do; `look` tells what it saw."""

    name: str
    mend: str
    needs: frozenset[type[Action]]
    ability: Ability | None
    look: Callable[[Bench], Awaitable[str]]

    def missing(self, bench: Bench) -> str:
        """What the system lacks for this rule to mean anything; empty when it applies."""
        lacks = sorted(kind.__name__.lower() for kind in self.needs - bench.driver.actions)
        if lacks:
            return f"the driver does not claim {', '.join(lacks)}"
        if self.ability is not None and self.ability not in bench.abilities:
            return f"the system has not the ability {self.ability}"
        return ""


def rule(
    name: str, *needs: type[Action], mend: str, ability: Ability | None = None
) -> Callable[[Callable[[Bench], Awaitable[str]]], Rule]:
    """Make a function a rule that needs these actions and this ability."""

    def made(look: Callable[[Bench], Awaitable[str]]) -> Rule:
        return Rule(name, mend, frozenset(needs), ability, look)

    return made


async def held(each: Rule, bench: Bench) -> Finding:
    """Hold the bench to one rule. Whatever a driver raises is a finding, never a crash."""
    if lacks := each.missing(bench):
        return Finding(each.name, "skipped", lacks)
    try:
        async with asyncio.timeout(RULE_SECONDS):
            seen = await each.look(bench)
            await bench.cleared()
    except LabError:
        raise
    except Untried as reason:
        await _cleared_anyhow(bench)
        return Finding(each.name, "skipped", str(reason))
    except Exception as error:  # noqa: BLE001 - it is told as the finding
        await _cleared_anyhow(bench)
        return Finding(each.name, "bad", _told(error), each.mend)
    return Finding(each.name, "ok", seen)


async def _cleared_anyhow(bench: Bench) -> None:
    """After a rule that ended early: the next one gets new tenants, and this finding stands."""
    with suppress(Exception):
        async with asyncio.timeout(RULE_SECONDS):
            await bench.cleared()


def _told(error: Exception) -> str:
    match error:
        case Broken():
            return str(error)
        case Refused():
            return f"refused: {error}"
        case TimeoutError():
            return "no answer in time"
        case _:
            return f"{type(error).__name__}: {error}"
