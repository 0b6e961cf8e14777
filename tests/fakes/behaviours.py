"""Behaviours for tests: functions of a module, so that the load generator can import them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from lab.actions import Abandon, List, Read, Step, Work, Write
from lab.system import Tenant


def chat(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Writes a value of its own and reads it back, now and then listing everything."""
    serial = 0
    while True:
        key = f"note-{rng.randrange(4)}"
        yield Write(key, f"{tenant.id}:{serial}")
        yield List() if rng.random() < 0.1 else Read(key)
        serial += 1


def reads(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Reads only."""
    while True:
        yield Read("note-0")


def work(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Work that takes a minute."""
    while True:
        yield Work("query", 60_000)


def abandoned(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Long work, given up after 20 ms."""
    while True:
        yield Abandon(Work("query", 60_000), after_ms=20)


def buggy(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Breaks at its second step."""
    yield Read("note-0")
    raise KeyError("no such step")


def short(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Ends, which no behaviour may."""
    yield Read("note-0")
