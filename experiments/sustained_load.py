"""Under a long steady load nobody gets slower, nothing grows, and a flood does not wear others out.

A baseline, then a flood that stays on for the whole time (15 minutes in profile `full`), then calm
again. The ratio of the neighbours' p95 is decided in short blocks first; what shows only with time,
as leaks and slow interference do, is what the long phase is for.
"""

from __future__ import annotations

from experiments._noise import flooding, neighbours
from experiments._tenants import chat
from lab.experiment import Experiment, Phase, Setup
from lab.stats.design import PairedBlocks
from lab.system import Ability
from lab.verifiers import cleanup, isolation, latency, leaks, measurement, recovery, routing

QUIET_PER_SECOND, FLOOD_PER_SECOND = 135.0, 50.0


def experiment(setup: Setup) -> Experiment:
    """The story for this setup; `tenants` counts the noisy one."""
    quiet, noisy = neighbours(setup.count(10, least=2))
    noise = flooding(noisy, FLOOD_PER_SECOND)
    design = PairedBlocks(looks=(16,) if setup.profile == "quick" else (20, 40, 60))
    calm_seconds = setup.pick(quick=6, standard=15, full=60, stress=60)
    return Experiment(
        claim="A load that stays neither wears the neighbours out nor makes anything grow.",
        cohorts=(quiet, noisy),
        workloads=(chat(quiet, QUIET_PER_SECOND),),
        phases=(
            Phase("warm-up", setup.pick(quick=4, standard=10, full=30, stress=30)),
            Phase("baseline", calm_seconds),
            Phase("decide", design.seconds, joined_by=(noise,), paired=design),
            Phase(
                "sustained",
                setup.pick(quick=15, standard=90, full=900, stress=3600),
                joined_by=(noise,),
            ),
            Phase("calm", calm_seconds),
        ),
        verifiers=(
            latency.neighbours_keep_their_p95(
                design, phase="decide", of=quiet.name, sustained=("baseline", "sustained", "calm")
            ),
            leaks.nothing_grows(phase="sustained"),
            recovery.settles_within(6.0, before="baseline", after="calm", of=quiet.name),
            routing.every_message_is_answered(of=(quiet.name,)),
            isolation.no_foreign_canaries(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.AGENTS, Ability.CENSUS}),
    )
