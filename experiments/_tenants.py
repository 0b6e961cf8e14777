"""Behaviours that several experiments share: tenants who go about their own business.

Keys have the same few names for every tenant on purpose: only the tenant's identity keeps them
apart, so a store, cache or route that forgets the tenant hands out somebody else's canary.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from lab.actions import Abandon, List, Read, Step, Write
from lab.canary import mint
from lab.system import Tenant
from lab.workload import Cohort, Workload

CHAT_PER_SECOND = 200.0
"""Enough in a block of a paired phase for its p95; and with it two cores are busy, so that one more
thing to compute is felt."""

KEYS = tuple(f"note-{n}" for n in range(8))


def writes(tenant: Tenant) -> Iterator[Write]:
    """Writes without end, round the keys, each value a canary that only this tenant can have."""
    serial = 0
    while True:
        key = KEYS[serial % len(KEYS)]
        yield Write(key, mint(tenant.canary_key, tenant.id, key, serial))
        serial += 1


def notes(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """A tenant at work: writes its notes and reads them back, in equal parts."""
    own = writes(tenant)
    yield next(own)
    while True:
        yield next(own) if rng.random() < 0.5 else Read(rng.choice(KEYS))


def chat(cohort: Cohort, per_second: float = CHAT_PER_SECOND) -> Workload:
    """`notes` at an even pace, so many a second by all of the cohort together."""
    return Workload(cohort.name, notes, per_second / cohort.size, frozenset({Write, Read}))


def restless(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """As `notes`, with listings, and one step in ten abandoned while its answer is under way."""
    own = writes(tenant)
    yield next(own)
    while True:
        draw = rng.random()
        step = next(own) if draw < 0.3 else List() if draw > 0.85 else Read(rng.choice(KEYS))
        yield Abandon(step, after_ms=rng.uniform(1, 60)) if rng.random() < 0.1 else step
