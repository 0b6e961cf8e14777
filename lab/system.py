"""What a system under test is to the lab: a folder with a `stack.yaml`, and a driver.

The driver is the only code that knows the system's protocol. It is loaded through the stack file
and runs outside the containers; `lab/stack` starts what it talks to and gives it a `Site`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from lab.actions import Action
from lab.errors import Refused

__all__ = [
    "Ability",
    "Census",
    "Driver",
    "DriverFactory",
    "Endpoint",
    "Governed",
    "Lending",
    "Metered",
    "Refused",
    "Reply",
    "Session",
    "Site",
    "Tenant",
    "TenantPlan",
    "View",
    "actions_of",
]

Census = dict[str, tuple[str, ...]]
"""What tenants leave behind, by kind (`rows`, `keys`, `connections`, `processes`): sorted names."""


class Ability(StrEnum):
    """What a system can offer beyond its actions; an experiment says which it needs."""

    AGENTS = "agents"  # every tenant's agent is a process of its own, which can be found and killed
    CENSUS = "census"  # the driver can list what tenants leave behind
    QUOTAS = "quotas"  # the driver is `Metered` and `Governed`
    STORES = "stores"  # at least one link leads to a store (kind postgres or redis)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address on this host that leads into the stack."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """The tenants an experiment wants: logical name -> cohort, in order.

    prefix makes ids unique on a stack that several experiments share, as in `t3`.
    """

    cohorts: Mapping[str, str]
    prefix: str
    seed: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """One provisioned tenant: its `name` in the experiment, as `quiet-3`, its `id` in the system.

    canary_key signs the canaries in everything it writes; secrets are the driver's own business
    (passwords, tokens) and never reach a journal or a report.
    """

    name: str
    id: str
    cohort: str
    canary_key: bytes = field(repr=False, default=b"")
    secrets: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Reply:
    """An action that happened: `value` is what was asked for, `raw` all text received."""

    value: str | None = None
    raw: str = ""


@dataclass(frozen=True)
class Site:
    """Where a running stack can be reached, and what was generated for it.

    entrances: (entrance, cohort) -> address through that cohort's own proxy; an entrance without
    cohorts is under cohort "". observers: name -> address past all faults, for probes only.
    variables: the stack file's interpolated variables, per-run secrets included.
    """

    entrances: Mapping[tuple[str, str], Endpoint]
    observers: Mapping[str, Endpoint]
    variables: Mapping[str, str] = field(repr=False)
    mode: str = ""

    def entrance(self, name: str, cohort: str = "") -> Endpoint:
        """The address of entrance `name` for `cohort`, falling back to the one shared by all."""
        found = self.entrances.get((name, cohort)) or self.entrances.get((name, ""))
        if found is None:
            raise KeyError(f"no entrance {name!r} for cohort {cohort!r}")
        return found


class Session(Protocol):
    """One tenant's open connection. Several actions may be in flight on it at once."""

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """Do `action`; `op` is its idempotency key. No hidden retries.

        Raises Refused for a definite no; anything else (TimeoutError, OSError, a closed socket)
        means that nobody knows whether it happened.
        """
        ...

    def overheard(self) -> Sequence[str]:
        """Take all text received since the last call that is in no Reply.

        Answers that nobody waits for (late, doubled, somebody else's) and the bodies of errors: a
        leak shows there first, so everything is scanned.
        """
        ...

    async def close(self) -> None:
        """Say goodbye and wait for it, within the driver's own short limit."""
        ...

    def abort(self) -> None:
        """Drop the connection at once, without a goodbye."""
        ...


class Driver(Protocol):
    """Turns the lab's actions into one system's requests."""

    @property
    def actions(self) -> frozenset[type[Action]]:
        """The kinds of action this system has."""
        ...

    async def provision(self, plan: TenantPlan) -> Sequence[Tenant]:
        """Create the tenants of the plan, in its order."""
        ...

    async def connect(self, tenant: Tenant) -> Session:
        """Open a session for `tenant` through its cohort's entrance."""
        ...

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """Remove the tenants and all their data; the census then equals the one before them."""
        ...

    async def census(self) -> Census:
        """List what tenants hold right now, from outside; empty dict without the ability."""
        ...

    async def close(self) -> None:
        """Give back what the driver itself holds."""
        ...


@runtime_checkable
class Metered(Protocol):
    """A driver whose system counts what each tenant takes; optional."""

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """Tenant id -> what it took, in one cheap call; a kind that is missing is 0.

        Growing: `accepted`, `refused`, `refused_<kind>`, `cpu_ms`, `database_ms`, `disk_kb`,
        `network_kb`, `tokens`. Now: `in_flight`, `held` (database connections), `sockets`,
        `memory_mb`.
        """
        ...


@runtime_checkable
class Lending(Protocol):
    """A driver whose system knows what it has lent to whom; optional."""

    async def lent(self) -> Census:
        """What is in use right now and has to be given back, by kind (`connections`), named.

        A database connection begins with `server pid N`, as pg_stat_activity has it.
        """
        ...


@runtime_checkable
class Governed(Protocol):
    """A driver whose system can hold one tenant to a limit while it is served; optional.

    Kinds that the governor uses where they are there: `requests` (a second), `burst`, `sockets`,
    `in_flight`, `connections` (of the database), `cpu` and `database` (milliseconds a second),
    `memory` (megabytes).
    """

    async def limits(self, tenant: Tenant) -> Mapping[str, float]:
        """What the tenant is held to now, by kind."""
        ...

    async def limit(self, tenant: Tenant, kind: str, amount: float) -> float:
        """Hold the tenant to `amount` of `kind`, and return what it is held to then.

        Raises UsageError for an unknown kind.
        """
        ...

    async def unlimit(self, tenant: Tenant, kind: str) -> None:
        """Give it back what it has when nobody says anything; idempotent."""
        ...


DriverFactory = Callable[[Site], Driver]
"""What `driver.py` defines under the name `driver`. It only builds: addresses are used later."""


@dataclass(frozen=True, slots=True)
class View:
    """What an experiment may know of a system: its links by kind, its abilities, its actions."""

    name: str
    links: Mapping[str, str]
    abilities: frozenset[Ability]
    actions: frozenset[str]

    def links_of(self, *kinds: str) -> tuple[str, ...]:
        """The names of the links of these kinds (`postgres`, `redis`, `http`), in file order."""
        return tuple(name for name, kind in self.links.items() if kind in kinds)


def actions_of(factory: DriverFactory) -> frozenset[str]:
    """The names of a driver's actions. Building a driver does no I/O, so no stack is needed."""
    driver = factory(Site(entrances={}, observers={}, variables={}))
    return frozenset(kind.__name__.lower() for kind in driver.actions)
