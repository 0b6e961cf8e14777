"""What can be done about a culprit: small values, from the mildest to the last resort.

`nice` is not among them: it does nothing between cgroups. Nor is a CFS quota, which leaves a tail
in the neighbours' latency, nor anything that pooled sessions do not feel, as ALTER ROLE.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import ClassVar, Protocol

from lab.engine.demotion import demote, promote, signalled
from lab.errors import LabError
from lab.governor.blame import Blame, Resource, Use
from lab.hands import Lab
from lab.resources import Source

WORK_MS = 20.0
"""Milliseconds of work a second that are left to a culprit."""

Undo = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reach:
    """What measures work through. agents: tenant -> its own process on this host, if known."""

    lab: Lab
    agents: Callable[[], Mapping[str, Source]]


class Measure(Protocol):
    """One thing that can be done to one tenant.

    lasts: it is in place until it is undone; otherwise it is over as soon as it is done.
    """

    lasts: ClassVar[bool]

    @property
    def tenant(self) -> str:
        """Whom it hits, and nobody else."""
        ...

    async def take(self, reach: Reach) -> Undo | None:
        """Do it; what is returned, if anything, undoes it. Raises LabError where it cannot be."""
        ...


@dataclass(frozen=True, slots=True)
class CancelQueries:
    """End what the tenant runs in the database right now (pg_cancel_backend): 5 ms, and safe."""

    tenant: str
    again: bool = False
    lasts: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"cancel the queries of {self.tenant}{' again' * self.again}"

    async def take(self, reach: Reach) -> None:
        """Active sessions only: a cancel that comes late would hit whoever has the session next."""
        theirs = await reach.lab.postgres.sessions_of(reach.lab.tenants[self.tenant])
        await reach.lab.postgres.figures(
            "SELECT 'cancelled', count(pg_cancel_backend(pid)) FROM pg_stat_activity"
            f" WHERE state = 'active' AND {theirs}"
        )


@dataclass(frozen=True, slots=True)
class Cap:
    """The system admits no more than `amount` of `kind` from the tenant (see `lab.quotas`)."""

    tenant: str
    kind: str
    amount: float
    lasts: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"cap {self.kind} of {self.tenant} at {self.amount:.4g}"

    async def take(self, reach: Reach) -> Undo:
        """Undone only while it is still in place: who changed it since meant it."""
        before = (await reach.lab.quotas.limits(self.tenant)).get(self.kind)
        if before is None:
            raise LabError(f"the system knows no limit of {self.kind}", where=self.tenant)
        if before <= self.amount:
            raise LabError(f"is held to {before:g} of {self.kind} already", where=self.tenant)
        held = await reach.lab.quotas.limit(self.tenant, self.kind, self.amount)

        async def undo() -> None:
            if (await reach.lab.quotas.limits(self.tenant))[self.kind] == held:
                await reach.lab.quotas.limit(self.tenant, self.kind, before)

        return undo


@dataclass(frozen=True, slots=True)
class Demote:
    """The tenant's own process gets the CPU time that nobody else wants, and no other."""

    tenant: str
    lasts: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"leave {self.tenant} the idle CPU only"

    async def take(self, reach: Reach) -> Undo:
        """By the host's own cgroups: a file or three."""
        agent = reach.agents().get(self.tenant)
        if agent is None:
            raise LabError("no process of its own is known", where=self.tenant)
        demoted = demote(agent.pid, agent.started)

        async def undo() -> None:
            promote(demoted)

        return undo


@dataclass(frozen=True, slots=True)
class Freeze:
    """Stop the tenant's agent (SIGSTOP) until this is undone."""

    tenant: str
    lasts: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"freeze the agent of {self.tenant}"

    async def take(self, reach: Reach) -> Undo:
        """The very process that was found; one that has ended meanwhile is fine."""
        signal = await _signalling(reach, self.tenant)
        await signal(SIGSTOP)

        async def undo() -> None:
            await signal(SIGCONT)

        return undo


@dataclass(frozen=True, slots=True)
class KillAgent:
    """End the tenant's agent; the system starts another, within the tenant's caps."""

    tenant: str
    lasts: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"kill the agent of {self.tenant}"

    async def take(self, reach: Reach) -> None:
        """All that it has is given back by the kernel."""
        signal = await _signalling(reach, self.tenant)
        await signal(SIGKILL)


async def _signalling(reach: Reach, tenant: str) -> Callable[[int], Awaitable[None]]:
    """How to signal a tenant's agent: from the host if it is known there, which takes no time."""
    here = reach.agents().get(tenant)
    inside = None if here else (await reach.lab.containers.agents()).get(reach.lab.tenants[tenant])
    if here is None and inside is None:
        raise LabError("has no agent", where=tenant)

    async def signal(number: int) -> None:
        if here is not None:
            signalled(here.pid, here.started, number)
        elif inside is not None:
            await reach.lab.containers.kill_process(inside, number)

    return signal


Rung = tuple[Measure, ...]
"""What is done at the same time."""


def ladder(culprit: Blame, usual: Use) -> tuple[Rung, ...]:
    """What to do about use of this resource, one rung after another, until the others recover.

    A cap is what an average neighbour used before, so that nobody is left with less than others.
    It keeps out what is yet to come, and takes as long as a busy system needs to answer; so with
    it comes the mildest thing that is felt at once, by what already runs.
    """
    who, fair = culprit.tenant, fair_share(culprit.resource, culprit.tenant, usual)
    few = max(5.0, fair_share(Resource.REQUESTS, who, usual))
    fewer = Cap(who, "requests", few)
    one_by_one: Rung = (Cap(who, "in_flight", 1),)
    end: tuple[Rung, ...] = ((Freeze(who),), (KillAgent(who),))
    last: tuple[Rung, ...] = ((Demote(who),), *end)
    match culprit.resource:
        case Resource.DATABASE:
            budget, one = Cap(who, "database", WORK_MS), Cap(who, "connections", 1)
            again = CancelQueries(who, again=True)  # those that began before the cap
            return ((budget, CancelQueries(who)), (again,), (one,), *last)
        case Resource.CPU:
            return ((Demote(who), Cap(who, "cpu", max(WORK_MS, fair * 1000))), *end)
        case Resource.MEMORY:
            return ((Cap(who, "memory", max(128.0, 2 * fair)),), (KillAgent(who),))
        case Resource.SOCKETS:
            return ((Cap(who, "sockets", max(1.0, fair)), fewer), one_by_one, *last)
        case Resource.REQUESTS:
            return ((fewer,), one_by_one, *last)


def fair_share(resource: Resource, culprit: str, usual: Use) -> float:
    """What the others used of it before, on average."""
    others = [each.get(resource, 0.0) for tenant, each in usual.items() if tenant != culprit]
    return sum(others) / max(1, len(others))
