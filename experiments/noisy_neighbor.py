"""One tenant floods the backend with heavy work; its neighbours' p95 must grow by less than 10 %.

Nine quiet tenants write and read notes at an even pace; the tenth asks for heavy queries far
beyond any fair share. First the flood is switched on and off in short blocks of random order, which
decides the 10 % question in spite of a noisy host; then it stays on, for what shows only with time.
With a governor (`--governor`) it is another story: the noisy one was sold too much, and is stopped.
"""

from __future__ import annotations

from experiments._governed import governed
from experiments._noise import flooding, neighbours
from experiments._tenants import chat
from lab.experiment import Experiment, Phase, Setup
from lab.stats.design import PairedBlocks
from lab.system import Ability
from lab.verifiers import cleanup, confirmed, isolation, latency, measurement, proportion, recovery

FLOOD_PER_SECOND = 100.0
QUOTA_PER_SECOND = 20.0
LOOKS = (24, 48, 72)
"""Decides 81 of 100 shams on a busy two-core host where 20, 40 and 60 decide 67 (eight recorded
shams under coins drawn anew)."""
LOADS = {float(n): f"load x{n}" for n in (1, 2, 4, 8)}
"""Of the quota, for Krebs' index, in the profiles that have the time."""


def experiment(setup: Setup) -> Experiment:
    """The story for this setup; `tenants` counts the noisy one."""
    if setup.governor:
        return governed(setup)
    quiet, noisy = neighbours(setup.count(10, least=2))
    quick = setup.profile == "quick"
    design = PairedBlocks(looks=LOOKS)
    calm_seconds = setup.pick(quick=5, standard=8, full=30, stress=30)
    noise = flooding(noisy, FLOOD_PER_SECOND)
    loads = LOADS if setup.profile in ("full", "stress") else {}
    return Experiment(
        claim="A flooding tenant costs its neighbours under 10 % of p95 latency.",
        cohorts=(quiet, noisy),
        workloads=(chat(quiet),),
        phases=(
            Phase("warm-up", 2),
            Phase("baseline", calm_seconds),
            Phase("attack", design.seconds, joined_by=(noise,), paired=design),
            Phase(
                "sustained",
                setup.pick(quick=8, standard=60, full=120, stress=300),
                joined_by=(noise,),
            ),
            Phase("recovery", calm_seconds),
            *(
                Phase(load, 10, joined_by=(flooding(noisy, times * QUOTA_PER_SECOND),))
                for times, load in loads.items()
            ),
        ),
        verifiers=(
            latency.neighbours_keep_their_p95(
                design,
                phase="attack",
                of=quiet.name,
                sustained=("baseline", "sustained", "recovery"),
            ),
            *((proportion.loss_is_in_proportion(loads, of=quiet.name),) if loads else ()),
            isolation.no_foreign_canaries(),
            recovery.settles_within(
                4.0 if quick else 6.0, before="baseline", after="recovery", of=quiet.name
            ),
            confirmed.the_flood_was_real(
                cohort=noisy.name, phase="attack", per_second_min=FLOOD_PER_SECOND / 4
            ),
            confirmed.the_flood_was_real(
                cohort=noisy.name, phase="sustained", per_second_min=FLOOD_PER_SECOND / 2
            ),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.CENSUS}),
    )
