"""What one tenant takes: next to nothing while it rests, and a bounded share while it works.

First every tenant is connected and asks for nothing, then all work at an everyday pace. Measured is
each tenant's own process; the figures are those by which later runs are compared.
"""

from __future__ import annotations

from experiments._tenants import chat
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability
from lab.verifiers import cleanup, footprint, isolation, measurement, routing
from lab.workload import Cohort


def experiment(setup: Setup) -> Experiment:
    """The story for this setup: rest, then work."""
    everyone = Cohort("tenant", setup.count(10, least=1))
    seconds = setup.pick(quick=8, standard=30, full=120, stress=300)
    return Experiment(
        claim="A tenant's own process is small at rest and bounded at work.",
        cohorts=(everyone,),
        workloads=(),
        phases=(
            Phase("settle", 2),
            Phase("idle", seconds),
            Phase("loaded", seconds, joined_by=(chat(everyone, 80.0),)),
        ),
        verifiers=(
            footprint.within(
                phase="idle", of=everyone.name,
                cpu_share_max=0.05, memory_mb_max=256, io_mb_per_second_max=10,
            ),
            footprint.within(
                phase="loaded", of=everyone.name,
                cpu_share_max=0.25, memory_mb_max=512, answer_seconds_max=2,
            ),
            routing.every_message_is_answered(),
            isolation.no_foreign_canaries(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.AGENTS, Ability.CENSUS}),
    )  # fmt: skip
