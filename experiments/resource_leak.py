"""Nothing is kept of what tenants do: no memory, no descriptor, no connection, no process, no key.

Tenants work, rest, work and rest again. Memory must not grow with every request; everything that
can be counted must be the same in the second rest as in the first, by name. One cohort uses the
agents' tools, one writes ever new keys, one breaks things off and is refused; the fourth only takes
notes, and is the control.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random

from experiments._tenants import notes
from lab.actions import Abandon, Read, Spend, Step, Work, Write
from lab.canary import mint
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability, Tenant
from lab.verifiers import cleanup, isolation, leaks, measurement
from lab.workload import Cohort, Workload

FORTUNE = 1_000_000
"""More than any tenant has: it is refused inside a transaction."""
QUERY_MS, HANG_UP_MS = 40, 15
LONG_CHARACTERS = 300
FILES_EVERY, MEMORY_EVERY = 20, 39
"""Uses of other tools between: what a leak of these takes lasts for longer than the story."""
REST_SECONDS = 3.0
"""Long enough for what ends by itself to have ended, and for two looks at what is held."""


def tools(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Uses the agent's tools, one after another."""
    while True:
        for n in range(MEMORY_EVERY):
            yield Work("cpu", 1) if n % FILES_EVERY else Work("files", 1)
        yield Work("memory", 1)


def fresh(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Writes a key that was never there before, every time, and long values."""
    for serial in count():
        key = f"fresh-{serial}"
        yield Write(key, mint(tenant.canary_key, tenant.id, key, serial).ljust(LONG_CHARACTERS))


def rude(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Breaks off in the middle of a query, and asks for what it cannot have."""
    while True:
        yield Abandon(Work("query", QUERY_MS), after_ms=HANG_UP_MS)
        yield Read("nothing")
        yield Spend(FORTUNE)


def experiment(setup: Setup) -> Experiment:
    """The story for this setup; `tenants` counts those that use tools."""
    return story(
        setup.count(2, least=1),
        warm_seconds=setup.pick(quick=8, standard=15, full=30, stress=30),
        work_seconds=setup.pick(quick=20, standard=40, full=300, stress=900),
    )


def story(
    users: int, *, warm_seconds: float, work_seconds: float, rest_seconds: float = REST_SECONDS
) -> Experiment:
    """The story in times of one's own; `users` counts the tenants that use tools."""
    using, writing = Cohort("tools", users), Cohort("fresh", 1)
    breaking, control = Cohort("rude", 2), Cohort("control", 2)
    work = (
        Workload(using.name, tools, 25.0, frozenset({Work}), in_flight_max=8),
        Workload(writing.name, fresh, 25.0, frozenset({Write})),
        Workload(breaking.name, rude, 4.0, frozenset({Work, Read, Spend})),
        Workload(control.name, notes, 25.0, frozenset({Write, Read})),
    )
    return Experiment(
        claim="Nothing is kept of what tenants do.",
        cohorts=(using, writing, breaking, control),
        workloads=(),
        phases=(
            Phase("warm-up", warm_seconds, joined_by=work),
            Phase("rest before", rest_seconds),
            Phase("work", work_seconds, joined_by=work),
            Phase("rest after", rest_seconds),
        ),
        verifiers=(
            leaks.nothing_grows(phase="work", control=control.name),
            leaks.nothing_is_kept(before="rest before", after="rest after"),
            leaks.nobody_runs_away(rest="rest after"),
            isolation.no_foreign_canaries(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.AGENTS, Ability.CENSUS}),
    )
