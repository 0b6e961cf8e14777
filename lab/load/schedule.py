"""When everything of a phase is due, drawn from the seed before anything is answered.

Each tenant draws per workload from streams of its own, so a tenant or a workload more or less
leaves the arrivals of all others as they were, and so does the number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge

from lab.actions import Step
from lab.arrivals import Draw
from lab.errors import LabError
from lab.load.wire import PhasePlan
from lab.seeds import stream
from lab.system import Tenant
from lab.workload import Workload

Arrival = tuple[int, int, int]
"""Due in nanoseconds since the phase's start, position of the lane, number within the lane."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One tenant under one workload (`index` in the phase's workloads) of one phase.

    place, of: the tenant is number `place` of its cohort's `of`.
    """

    seed: int
    phase: PhasePlan
    tenant: Tenant
    index: int
    place: int = 0
    of: int = 1

    @property
    def workload(self) -> Workload:
        """What the tenant does in this lane."""
        return self.phase.workloads[self.index]

    @property
    def prefix(self) -> str:
        """The first part of the ids of its operations; their numbers follow.

        Without blanks, since a system uses them as idempotency keys.
        """
        return f"{self.phase.name.replace(' ', '-')}/{self.tenant.name}/{self.index}/"

    def arrivals(self) -> Iterator[int]:
        """When its actions are due, in nanoseconds since the phase's start."""
        names = (self.phase.name, self.tenant.name, str(self.index))
        rng, workload = stream(self.seed, "arrivals", *names), self.workload
        gate = self.phase.gate(self.index)
        return workload.schedule.due_ns(Draw(rng, workload.per_second, gate, self.place, self.of))

    def steps(self) -> Iterator[Step]:
        """What it does, one step for each arrival."""
        names = (self.phase.name, self.tenant.name, str(self.index))
        rng = stream(self.seed, "behaviour", *names)
        return self.workload.behaviour(self.tenant, rng)

    def next_step(self, steps: Iterator[Step]) -> Step:
        """The next of its `steps`. Raises LabError when the behaviour has come to an end."""
        try:
            return next(steps)
        except StopIteration:
            name = getattr(self.workload.behaviour, "__qualname__", repr(self.workload.behaviour))
            raise LabError(f"the behaviour {name} ended", mend="behaviours go on forever") from None


def lanes(
    seed: int, phase: PhasePlan, tenants: Iterable[Tenant], share: tuple[int, int] = (0, 1)
) -> Iterator[Lane]:
    """A lane for each tenant of each workload's cohort, workload by workload.

    share: (worker, workers); only that worker's lanes, each as it would be with one worker.
    """
    everybody, (worker, workers) = tuple(tenants), share
    for index, workload in enumerate(phase.workloads):
        cohort = [k for k, tenant in enumerate(everybody) if tenant.cohort == workload.cohort]
        for place, at in enumerate(cohort):
            if at % workers == worker:
                yield Lane(seed, phase, everybody[at], index, place, len(cohort))


def numbered(position: int, dues: Iterator[int]) -> Iterator[Arrival]:
    """A lane's due times as arrivals."""
    for number, due_ns in enumerate(dues):
        yield due_ns, position, number


def merged(arrivals: Iterable[Iterator[Arrival]]) -> Iterator[Arrival]:
    """All lanes' arrivals in due order (ties by lane), one look-ahead each: nothing is stored."""
    return merge(*arrivals)


def schedule_digest(seed: int, phase: PhasePlan, tenants: Iterable[Tenant]) -> str:
    """SHA-256 over every due time, operation id and step of a phase: equal for an equal seed."""
    whole = tuple(lanes(seed, phase, tenants))
    steps = [lane.steps() for lane in whole]
    digest = hashlib.sha256()
    for due_ns, at, number in merged(numbered(k, lane.arrivals()) for k, lane in enumerate(whole)):
        step = whole[at].next_step(steps[at])
        digest.update(f"{due_ns} {whole[at].prefix}{number} {step!r}\n".encode())
    return digest.hexdigest()
