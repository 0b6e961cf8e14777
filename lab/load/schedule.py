"""When everything is due: Poisson arrivals drawn from the seed before anything is answered.

Open loop: nothing that the system does changes the schedule (Schroeder et al., "Open Versus Closed:
A Cautionary Tale", NSDI 2006). Each tenant draws per workload from streams of its own, so a tenant
or a workload more or less leaves the arrivals of all others as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge

from lab.actions import Step
from lab.errors import LabError
from lab.load.wire import Gate, PhasePlan
from lab.seeds import stream
from lab.system import Tenant
from lab.workload import Workload

Arrival = tuple[int, int, int]
"""Due in nanoseconds since the phase's start, position of the lane, number within the lane."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One tenant under one workload (`index` in the phase's workloads) of one phase."""

    seed: int
    phase: PhasePlan
    tenant: Tenant
    index: int

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
        draw = stream(self.seed, "arrivals", *names).expovariate
        return _poisson(draw, self.workload.per_second, self.phase.gate(self.index))

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


def lanes(seed: int, phase: PhasePlan, tenants: Iterable[Tenant]) -> Iterator[Lane]:
    """A lane for each tenant of each workload's cohort, workload by workload."""
    everybody = tuple(tenants)
    for index, workload in enumerate(phase.workloads):
        for tenant in everybody:
            if tenant.cohort == workload.cohort:
                yield Lane(seed, phase, tenant, index)


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


def _poisson(draw: Callable[[float], float], per_second: float, gate: Gate) -> Iterator[int]:
    """A Poisson process on the gate's own time: the clock stands still while the gate is shut."""
    if per_second <= 0:
        return
    per_ns = per_second / 1e9
    at_ns = draw(per_ns)
    for start, end in gate:
        start_ns, width_ns = round(start * 1e9), round(end * 1e9) - round(start * 1e9)
        while at_ns < width_ns:
            yield start_ns + int(at_ns)
            at_ns += draw(per_ns)
        # Exponential gaps forget what came before, so the rest of this one goes on in the next
        # window.
        at_ns -= width_ns
