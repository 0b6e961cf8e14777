"""Each kind of quota is driven over its limit by a tenant of its own, beside modest neighbours.

First everybody stays within; then the rates are overdrawn (requests, CPU, database time, disk,
network, model tokens), then what is counted or has a size (unfinished messages, pieces of work,
connections, sockets, memory, processes). Who asks for too much is refused within a second; nobody
else is, ever; and each pays for its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from experiments._tenants import notes
from faults.tenants import Flood
from lab.actions import Read, Step, Work, Write
from lab.canary import mint
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability, Tenant
from lab.verifiers import cleanup, isolation, measurement, quota
from lab.verifiers.quota import Limit
from lab.workload import Behaviour, Cohort, Workload

RATES, COUNTS = "over the rates", "over the counts"
ROOMY = {
    "requests": 500.0, "in_flight": 200.0, "connections": 8.0, "parallel": 8.0, "cpu": 5_000.0,
    "database": 5_000.0, "disk": 100_000.0, "network": 10_000.0,
}  # fmt: skip
"""What each tenant has of all other kinds, so that it meets one limit only."""

BULK = 2000
"""Characters of a bulky note: two kilobytes, a thousand tokens there and back."""


def asking(step: Step, tenant: Tenant, rng: Random) -> Iterator[Step]:
    """The same step for ever."""
    while True:
        yield step


def bulky(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Notes of two kilobytes, no two alike, each read back."""
    while True:
        value = mint(tenant.canary_key, tenant.id, "bulk", rng.getrandbits(31))
        yield Write("bulk", value + "." * (BULK - len(value)))
        yield Read("bulk")


@dataclass(frozen=True, slots=True)
class Case:
    """One kind: its limit, what it was sold beside, what asks for too much, and what does not."""

    limit: Limit
    too_much: Behaviour
    per_second: float
    fits: Behaviour
    also: tuple[tuple[str, float], ...] = ()

    @property
    def cohort(self) -> Cohort:
        """Its tenant."""
        own = {self.limit.kind: self.limit.amount, **dict(self.also)}
        return Cohort(self.limit.cohort, 1, {**ROOMY, **own})

    def work(self, *, over: bool) -> Workload:
        """What its tenant does: once a second what fits, or far more than that."""
        behaviour, rate = (self.too_much, self.per_second) if over else (self.fits, 1.0)
        kinds = frozenset({Read, Write, Work})
        return Workload(self.limit.cohort, behaviour, rate, kinds, in_flight_max=256)


def rate(kind: str, amount: float, step: Behaviour, *, cost: float, meter: str = "") -> Case:
    """A kind of which a tenant has so much a second, and asks for it 20 times a second."""
    saved = amount if kind == "requests" else 60 * amount if kind == "tokens" else 2 * amount
    limit = Limit(f"over-{kind}", kind, "rate", RATES, amount, cost, saved, meter)
    sold = amount * 60 if kind == "tokens" else amount
    return Case(limit, step, 40.0 if kind == "requests" else 20.0, step, ((kind, sold),))


QUEUED = Limit("over-queue", "queue", "count", COUNTS, 2.0, meter="in_flight", level=24.0)
"""One query is at work and one may wait. The level leaves room for messages on their way there and
back; without a queue's limit 27 more wait with every second."""


def cases() -> tuple[Case, ...]:
    """Every kind of quota; a burst goes with the requests, a queue with the connections.

    That one may do any number of things in parallel, so that nothing but its queue is full.
    """
    read, query = partial(asking, Read("note-1")), partial(asking, Work("query", 30))
    return (
        rate("requests", 10.0, read, cost=1.0),
        rate("cpu", 30.0, partial(asking, Work("cpu", 10)), cost=10.0, meter="cpu_ms"),
        rate("database", 80.0, partial(asking, Work("query", 20)), cost=20.0, meter="database_ms"),
        rate("disk", 300.0, partial(asking, Work("files", 0)), cost=65.5, meter="disk_kb"),
        rate("network", 20.0, bulky, cost=2.0, meter="network_kb"),
        rate("tokens", 100.0, bulky, cost=250.0, meter="tokens"),
        Case(
            Limit("over-in-flight", "in_flight", "count", COUNTS, 2.0, meter="in_flight"),
            read, 120.0, read,
        ),
        Case(Limit("over-parallel", "parallel", "count", COUNTS, 1.0), query, 20.0, query),
        Case(
            Limit("over-queue", "connections", "count", COUNTS, 1.0, meter="held"),
            query, 60.0, query, (("queue", 1.0), ("parallel", 256.0)),
        ),
        Case(
            Limit("over-memory", "memory", "size", COUNTS, 96.0, cost=200.0),
            partial(asking, Work("memory", 200)), 4.0, partial(asking, Work("memory", 4)),
        ),
        Case(
            Limit("over-processes", "processes", "size", COUNTS, 4.0, cost=12.0),
            partial(asking, Work("processes", 12)), 4.0, partial(asking, Work("processes", 1)),
        ),
        Case(
            Limit("over-sockets", "sockets", "sockets", COUNTS, 3.0, meter="sockets"),
            read, 1.0, read,
        ),
    )  # fmt: skip


def experiment(setup: Setup) -> Experiment:
    """The story for this setup; `tenants` are the modest ones."""
    modest, every = Cohort("modest", setup.count(3, least=1)), cases()
    seconds = setup.pick(quick=5, standard=8, full=20, stress=60)

    def over(phase: str) -> tuple[Workload, ...]:
        return tuple(case.work(over=case.limit.phase == phase) for case in every)

    crowd = Flood("over-sockets-0", 5.0, "read", 1, connections=12)
    return Experiment(
        claim="Every quota is kept within a second, and keeps nobody from what is theirs.",
        cohorts=(modest, *(case.cohort for case in every)),
        workloads=(Workload(modest.name, notes, 5.0, frozenset({Write, Read})),),
        phases=(
            Phase("within", seconds + 1, joined_by=over("")),
            Phase(RATES, seconds, joined_by=over(RATES)),
            Phase(COUNTS, seconds, (crowd,), joined_by=over(COUNTS)),
            Phase("after", 2),
        ),
        verifiers=(
            quota.held_to_limits(
                (*(case.limit for case in every), QUEUED),
                within="within",
                modest=modest.name,
                seconds_max=1.0,
            ),
            isolation.no_foreign_canaries(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.CENSUS, Ability.QUOTAS}),
    )
