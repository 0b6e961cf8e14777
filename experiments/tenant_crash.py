"""A tenant's agent is killed: neighbours notice nothing, it comes back, and nothing stays behind.

The agent dies by SIGKILL, so no handler of its own can tidy up. Afterwards the process table, the
rows, the keys and the connections have to be what they were before the tenants came.
"""

from __future__ import annotations

from collections.abc import Iterator

from experiments._tenants import chat
from faults.tenants import CrashAgent
from lab.experiment import Experiment, Phase, Setup
from lab.system import Ability
from lab.verifiers import cleanup, confirmed, isolation, measurement, recovery, routing, untouched
from lab.workload import Cohort

SETTLE_SECONDS = 3.0


def experiment(setup: Setup) -> Experiment:
    """The story for this setup: several crashes of the one target, each followed by calm."""
    target, quiet = Cohort("target", 1), Cohort("quiet", setup.count(8, least=2) - 1)
    crashes = range(1, 1 + int(setup.pick(quick=2, standard=5, full=20, stress=50)))
    return Experiment(
        claim="A crashed tenant comes back alone, and leaves nothing behind.",
        cohorts=(target, quiet),
        workloads=(chat(target, 20.0), chat(quiet, 60.0)),
        phases=(
            Phase("warm-up", 2),
            Phase("baseline", 8),
            *(phase for n in crashes for phase in _crash(n, target.tenants[0])),
        ),
        verifiers=(
            *(
                recovery.settles_within(
                    SETTLE_SECONDS,
                    before="baseline",
                    fault=f"crash {n}",
                    after=f"after {n}",
                    of=target.name,
                )
                for n in crashes
            ),
            *(
                untouched.others_feel_nothing(of=quiet.name, phase=f"{part} {n}")
                for n in crashes
                for part in ("crash", "after")
            ),
            routing.every_message_is_answered(settle_seconds=SETTLE_SECONDS),
            isolation.no_foreign_canaries(),
            confirmed.every_fault_bit(),
            measurement.generator_was_on_time(),
            cleanup.nothing_left(),
        ),
        abilities=frozenset({Ability.AGENTS, Ability.CENSUS}),
    )


def _crash(number: int, tenant: str) -> Iterator[Phase]:
    """One crash, and the time in which the agent has to be back."""
    yield Phase(f"crash {number}", 1.0, faults=(CrashAgent(tenant),))
    yield Phase(f"after {number}", 5.0)
