"""Each store is cut off in silence, with the load still on; service comes back once the cut heals.

A client library that never notices a dead connection, a pool that fills with them, a retry storm:
all look healthy until the wire comes back and the service does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from experiments._tenants import chat
from faults.network import Partition
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability
from lab.verifiers import cleanup, confirmed, isolation, measurement, recovery, routing
from lab.workload import Cohort

SETTLE_SECONDS = 5.0
"""Back in the band this long after the heal (the requirement allows two minutes)."""


def experiment(setup: Setup) -> Experiment:
    """The story for this setup: for every store link, cut and heal."""
    everyone = Cohort("tenant", setup.count(10, least=1))
    work = replace(chat(everyone, 80.0), deadline_seconds=2.0)
    links = setup.system.links_of("redis", "postgres")
    return Experiment(
        claim=f"Service is back within {SETTLE_SECONDS:g} s after a partition from a store heals.",
        cohorts=(everyone,),
        workloads=(work,),
        phases=(
            Phase("warm-up", 2),
            Phase("baseline", setup.pick(quick=8, standard=15, full=30, stress=30)),
            *(phase for link in links for phase in _cut(setup, link)),
        ),
        verifiers=(
            *(
                recovery.settles_within(
                    SETTLE_SECONDS,
                    before="baseline",
                    fault=f"cut {link}",
                    after=f"after {link}",
                    of=everyone.name,
                )
                for link in links
            ),
            routing.every_message_is_answered(settle_seconds=SETTLE_SECONDS),
            isolation.no_foreign_canaries(),
            confirmed.every_fault_bit(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.CENSUS, Ability.STORES}),
    )


def _cut(setup: Setup, link: str) -> Iterator[Phase]:
    """The cut of one link and the time after it, in which recovery is judged."""
    cut_seconds = setup.pick(quick=4, standard=10, full=30, stress=60)
    yield Phase(f"cut {link}", cut_seconds, faults=(Partition(link),))
    yield Phase(f"after {link}", setup.pick(quick=8, standard=15, full=30, stress=60))
