"""Nobody ever sees another tenant's data, also while the stores are slow and requests are cut off.

Every value written carries an unforgeable canary. Tenants use the same key names, hang up in the
middle of answers, and the stores answer late: the mix that made redis-py hand replies to the wrong
caller in March 2023. The tolerance is exactly 0.
"""

from __future__ import annotations

from experiments._tenants import restless
from faults.network import Latency
from lab.actions import List, Read, Write
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability
from lab.verifiers import cleanup, confirmed, isolation, measurement, routing
from lab.workload import Cohort, Workload

DELAY_MS, JITTER_MS = 40, 20


def experiment(setup: Setup) -> Experiment:
    """The story for this setup: calm, one slow store after another, calm again."""
    everyone = Cohort("tenant", setup.count(10, least=2))
    work = Workload(everyone.name, restless, 80.0 / everyone.size, frozenset({Write, Read, List}))
    links = setup.system.links_of("redis", "postgres")
    slow_seconds = setup.pick(quick=6, standard=20, full=60, stress=150)
    return Experiment(
        claim="No byte of one tenant ever reaches another.",
        cohorts=(everyone,),
        workloads=(work,),
        phases=(
            Phase("calm", setup.pick(quick=4, standard=10, full=30, stress=60)),
            *(
                Phase(f"slow {link}", slow_seconds, faults=(Latency(link, DELAY_MS, JITTER_MS),))
                for link in links
            ),
            Phase("calm again", setup.pick(quick=4, standard=10, full=30, stress=60)),
        ),
        verifiers=(
            isolation.no_foreign_canaries(reads_min=200),
            routing.every_message_is_answered(settle_seconds=1.0),
            confirmed.every_fault_bit(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.CENSUS, Ability.STORES}),
    )
