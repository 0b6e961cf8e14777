"""An experiment is a plain value: a claim, who does what, the phases of a story, and who judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lab.errors import UsageError
from lab.fault import Fault, Fitted
from lab.history import History
from lab.stats.design import PairedBlocks
from lab.system import Ability, View
from lab.verdict import Verdict
from lab.workload import Cohort, Workload

Verifier = Callable[[History], Verdict]
"""A pure judgement of a whole history."""


class Profile(StrEnum):
    """How long and how large: quick fits CI, standard ends within three minutes."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"
    STRESS = "stress"


@dataclass(frozen=True, slots=True)
class Setup:
    """What an experiment is built from. `tenants` is 0 when the person did not say.

    governor: somebody will step in when a tenant disturbs the others.
    """

    profile: Profile
    seed: int
    system: View
    tenants: int = 0
    governor: bool = False

    def count(self, default: int, *, least: int) -> int:
        """How many tenants: the person's choice, or the default. Raises UsageError for too few."""
        if 0 < self.tenants < least:
            raise UsageError(
                f"{self.tenants} is too few here", where="--tenants", mend=f"at least {least}"
            )
        return self.tenants or default

    def pick(self, *, quick: float, standard: float, full: float, stress: float) -> float:
        """The value for this run's profile."""
        return {"quick": quick, "standard": standard, "full": full, "stress": stress}[self.profile]


@dataclass(frozen=True, slots=True)
class Timed:
    """A fault from `start_seconds` to `end_seconds` of its phase, counted from the load's start."""

    fault: Fault
    start_seconds: float
    end_seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_seconds < self.end_seconds:
            raise ValueError(f"{self.fault} cannot end before it begins")


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the story: faults in it, for all of it or `Timed`; workloads that join for it.

    paired: when given, the joining workloads are active only in its `on` blocks, and the phase ends
    as soon as a look at the pairs decides; `seconds` is then the longest it can take.
    governed: the run's governor, if it has one, acts in it; otherwise it only watches.
    """

    name: str
    seconds: float
    faults: tuple[Fault | Timed, ...] = ()
    joined_by: tuple[Workload, ...] = ()
    paired: PairedBlocks | None = None
    governed: bool = True

    def __post_init__(self) -> None:
        if self.paired and self.timed:
            raise ValueError(f"{self.name}: a paired phase may end early, before a timed fault")
        if late := [each for each in self.timed if each.end_seconds > self.seconds]:
            raise ValueError(f"{self.name} ends before {late[0]}")

    @property
    def held(self) -> tuple[Fault, ...]:
        """The faults that are in place for all of it."""
        return tuple(fault for fault in self.faults if not isinstance(fault, Timed))

    @property
    def timed(self) -> tuple[Timed, ...]:
        """The faults that come and go inside it."""
        return tuple(fault for fault in self.faults if isinstance(fault, Timed))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The whole story, as data. Every verifier is named in the report, whatever it says."""

    claim: str
    cohorts: tuple[Cohort, ...]
    workloads: tuple[Workload, ...]
    phases: tuple[Phase, ...]
    verifiers: tuple[Verifier, ...]
    abilities: frozenset[Ability] = frozenset()

    @property
    def actions(self) -> frozenset[str]:
        """The names of all actions its workloads perform."""
        joined = (w for phase in self.phases for w in phase.joined_by)
        kinds = {kind for w in (*self.workloads, *joined) for kind in w.actions}
        return frozenset(kind.__name__.lower() for kind in kinds)

    @property
    def fittings(self) -> frozenset[tuple[str, str]]:
        """What its faults need the stack to be fitted with: (fitting, service)."""
        each = (fault for phase in self.phases for fault in phase.faults)
        bare = (fault.fault if isinstance(fault, Timed) else fault for fault in each)
        faults = (fault for fault in bare if isinstance(fault, Fitted))
        return frozenset((need, fault.service) for fault in faults for need in fault.needs)

    def lacks(self, view: View) -> tuple[str, ...]:
        """What the system would need and does not have: `action spend`, `ability agents`."""
        actions = (f"action {name}" for name in sorted(self.actions - view.actions))
        abilities = (f"ability {a}" for a in sorted(self.abilities - view.abilities))
        return (*actions, *abilities)


Factory = Callable[[Setup], Experiment]
"""What an experiment module defines under the name `experiment`."""

__all__ = ["Experiment", "Factory", "Phase", "Profile", "Setup", "Timed", "Verifier"]
