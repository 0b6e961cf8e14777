"""The noisy neighbour under a governor: felt first, then found, stopped, held off, and over.

The noisy tenant was sold limits that the host cannot keep, as operators do; what the system itself
holds everybody else to does not stop it.
"""

from __future__ import annotations

from experiments._noise import hammer, neighbours, slow_queries
from experiments._tenants import chat
from lab.actions import Read, Work
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability
from lab.verifiers import cleanup, confirmed, governor, isolation, measurement, recovery
from lab.workload import Behaviour, Workload

SOLD = {
    "requests": 2000.0,
    "in_flight": 500.0,
    "sockets": 500.0,
    "connections": 16.0,
    "parallel": 12.0,
    "cpu": 100_000.0,
    "database": 100_000.0,
    "network": 100_000.0,
    "memory": 1500.0,
}
"""Far beyond what the whole system has."""

GIVE_UP_SECONDS = 1.0
"""The attackers give up soon, so that an attack ends when its phase does."""


def noise(behaviour: Behaviour, per_second: float) -> Workload:
    """One way to be noisy, so many times a second."""
    kinds = frozenset({Read} if behaviour is hammer else {Work})
    return Workload(
        "noisy", behaviour, per_second, kinds, in_flight_max=256, deadline_seconds=GIVE_UP_SECONDS
    )


def governed(setup: Setup) -> Experiment:
    """The story for this setup; `tenants` counts the noisy one."""
    quiet, noisy = neighbours(setup.count(10, least=2), **SOLD)
    calm_seconds = setup.pick(quick=6, standard=8, full=30, stress=30)
    held_seconds = setup.pick(quick=10, standard=60, full=120, stress=300)
    attack = noise(slow_queries, 20.0)
    return Experiment(
        claim="A noisy neighbour is found and stopped, and nobody else is.",
        cohorts=(quiet, noisy),
        workloads=(chat(quiet),),
        phases=(
            Phase("warm-up", 2),
            Phase("baseline", calm_seconds),
            Phase("undefended", 4, joined_by=(attack,), governed=False),
            Phase("calm", calm_seconds),
            Phase("defended", held_seconds, joined_by=(attack,)),
            Phase("recovery", calm_seconds),
        ),
        verifiers=(
            governor.culprit_is_stopped(
                culprits=noisy.name,
                of=quiet.name,
                attacks=(("calm", "defended", "recovery"),),
                undefended=("baseline", "undefended"),
            ),
            isolation.no_foreign_canaries(),
            recovery.settles_within(6.0, before="baseline", after="recovery", of=quiet.name),
            confirmed.the_flood_was_real(
                cohort=noisy.name, phase="undefended", per_second_min=10.0
            ),
            confirmed.the_flood_was_real(cohort=noisy.name, phase="defended", per_second_min=10.0),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.CENSUS, Ability.QUOTAS}),
    )
