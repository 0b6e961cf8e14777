"""Ways to be a noisy neighbour: each asks one thing of the system, far beyond any fair share."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from lab.actions import Read, Step, Work
from lab.system import Tenant

CPU_MS, QUERY_MS, MEMORY_MB = 400, 400, 1000


def burn(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Tools that do nothing but use the CPU."""
    while True:
        yield Work("cpu", CPU_MS)


def slow_queries(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Queries of almost half a second."""
    while True:
        yield Work("query", QUERY_MS)


def gorge(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Tools that fill more than a gigabyte of memory (Work's amount is megabytes here)."""
    while True:
        yield Work("memory", MEMORY_MB)


def hammer(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Small reads, one after another."""
    while True:
        yield Read(f"note-{rng.randrange(8)}")
