"""Who is to blame: whoever uses the contended resource, never who suffers from it.

A threshold on latency finds the victim. What is looked at here is only who uses what, and how much
more of it than before: a culprit's use of a resource grew by enough to matter, and by far more than
that of the others (their median, so that a second culprit does not hide the first). Tenants who all
get busier together have no culprit, nor has contention that comes from strangers on the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median


class Resource(StrEnum):
    """What tenants can take from each other; how much of it one uses is a number in this unit."""

    CPU = "cpu"  # cores
    DATABASE = "database"  # connections held, on average: its own, and for how long
    MEMORY = "memory"  # megabytes (2^20)
    SOCKETS = "sockets"  # open, and opened a second
    REQUESTS = "requests"  # a second, those refused too


FLOORS: Mapping[Resource, float] = {
    Resource.CPU: 0.225,
    Resource.DATABASE: 4.0,
    Resource.MEMORY: 192.0,
    Resource.SOCKETS: 40.0,
    Resource.REQUESTS: 100.0,
}
"""Growth below this is a busy tenant's own business. Of the database much is needed, for who merely
waits holds a connection, too."""

OUTSTANDING = 3.0
"""A culprit's use grew so many times more than that of an average other tenant."""

Amounts = Mapping[Resource, float]
Use = Mapping[str, Amounts]
"""Tenant -> how much of each resource it uses; what is not named is not used."""


@dataclass(frozen=True, slots=True)
class Blame:
    """One tenant's part in the use of one resource.

    use: now; usual: before, which was fixed; others: how much more they use, the median of them.
    """

    tenant: str
    resource: Resource
    use: float
    usual: float
    others: float

    @property
    def grown(self) -> float:
        """By how much it uses more than before."""
        return self.use - self.usual

    @property
    def weight(self) -> float:
        """How many times the least growth that matters; resources are compared by it."""
        return self.grown / FLOORS[self.resource]

    def __str__(self) -> str:
        return (
            f"{self.tenant} uses {self.use:.4g} of {self.resource}, {self.usual:.4g} before;"
            f" others {self.others:+.4g}"
        )


def blame(usual: Use, now: Use) -> tuple[Blame, ...]:
    """Everybody whose use of some resource stands out, the heaviest first."""
    found = [each for resource in Resource for each in _outstanding(resource, usual, now)]
    return tuple(sorted(found, key=lambda each: (-each.weight, each.tenant)))


def _outstanding(resource: Resource, usual: Use, now: Use) -> Iterator[Blame]:
    before = {tenant: usual.get(tenant, {}).get(resource, 0.0) for tenant in now}
    grown = {t: max(0.0, uses.get(resource, 0.0) - before[t]) for t, uses in now.items()}
    for tenant, growth in grown.items():
        if growth >= FLOORS[resource]:
            others = median([each for name, each in grown.items() if name != tenant] or [0.0])
            if growth >= OUTSTANDING * others:
                yield Blame(tenant, resource, now[tenant][resource], before[tenant], others)
