"""Noisy neighbours, and ways to be one: each asks one thing of the system, far beyond its share."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from lab.actions import Read, Step, Work
from lab.system import Tenant
from lab.workload import Cohort, Workload

CPU_MS, QUERY_MS, MEMORY_MB = 400, 400, 1000
FLOOD_MS = 40


def neighbours(tenants: int, **sold: float) -> tuple[Cohort, Cohort]:
    """The quiet ones and the noisy one, so many in all, and what the latter was sold."""
    return Cohort("quiet", tenants - 1), Cohort("noisy", 1, sold)


def flood(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Queries that take as much of the database as one message can ask for."""
    while True:
        yield Work("query", FLOOD_MS)


def flooding(noisy: Cohort, per_second: float) -> Workload:
    """The flood, so many queries a second."""
    return Workload(noisy.name, flood, per_second, frozenset({Work}), in_flight_max=32)


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
