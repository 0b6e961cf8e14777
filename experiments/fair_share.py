"""Fifty tenants at mixed work: each gets its share in every second, while a few ask for far more.

The modest ones write and read notes or ask for a little work, well within what anybody may; the
greedy ones ask twenty times as much, for which they may be refused. Nobody else is to notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from experiments._tenants import notes
from lab.actions import Read, Step, Work, Write
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability, Tenant
from lab.verifiers import cleanup, confirmed, fairness, isolation, measurement
from lab.workload import Cohort, Workload

MODEST_PER_SECOND = 3.0
GREEDY_PER_SECOND = 60.0
ENTITLED_PER_SECOND = 5.0
"""What every tenant may count on, whatever the others do."""


def mixed(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Notes, and now and then a small query."""
    for step in notes(tenant, rng):
        yield Work("query", 2) if rng.random() < 0.1 else step


def experiment(setup: Setup) -> Experiment:
    """The story for this setup; `tenants` counts the greedy ones, one in twenty-five."""
    tenants = setup.count(52, least=12)
    greedy = Cohort("greedy", max(1, tenants // 25))
    modest = Cohort("modest", tenants - greedy.size)
    seconds = setup.pick(quick=12, standard=60, full=300, stress=900)
    chat = Workload(modest.name, mixed, MODEST_PER_SECOND, frozenset({Write, Read, Work}))
    more = Workload(greedy.name, notes, GREEDY_PER_SECOND, frozenset({Write, Read}))
    return Experiment(
        claim="Every tenant gets its share, second by second, beside some that ask for far more.",
        cohorts=(modest, greedy),
        workloads=(chat,),
        phases=(Phase("warm-up", 3), Phase("greed", seconds, joined_by=(more,))),
        verifiers=(
            fairness.everybody_gets_their_share(
                phase="greed", entitled_per_second=ENTITLED_PER_SECOND, tenants_min=tenants
            ),
            confirmed.the_flood_was_real(
                cohort=greedy.name,
                phase="greed",
                per_second_min=greedy.size * GREEDY_PER_SECOND / 2,
            ),
            isolation.no_foreign_canaries(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.CENSUS}),
    )
