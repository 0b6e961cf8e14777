"""Who does what, how often: cohorts of tenants, their behaviours, and how hard they push."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from lab.actions import Action, Step
from lab.system import Tenant

Behaviour = Callable[[Tenant, Random], Iterator[Step]]
"""An endless stream of steps for one tenant: pure, seeded, no I/O; a module-level function."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """A named group of tenants with an entrance of its own, so that a fault can hit it alone."""

    name: str
    size: int

    @property
    def tenants(self) -> tuple[str, ...]:
        """`quiet-0`, `quiet-1`, ..."""
        return tuple(f"{self.name}-{n}" for n in range(self.size))


@dataclass(frozen=True, slots=True)
class Workload:
    """What every tenant of a cohort does: open loop, Poisson arrivals at `per_second` each.

    in_flight_max bounds a tenant's unfinished actions; what is due beyond is dropped, and counted.
    actions names what the behaviour yields, so that fitness can be told before anything starts.
    """

    cohort: str
    behaviour: Behaviour
    per_second: float
    actions: frozenset[type[Action]]
    in_flight_max: int = 64
    deadline_seconds: float = 5.0
