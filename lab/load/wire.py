"""What the lab and its load generator say to each other, as frozen values.

Down (lab to worker) go pickled commands: behaviours are code, and the worker is the lab's own
child. Up go msgpack messages, for operations are many. Both in frames: 4 bytes of length, then the
body.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec

from lab.arrivals import Gate
from lab.errors import LabError
from lab.history import Op
from lab.system import Site, Tenant
from lab.workload import Workload

HEADER = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class GeneratorPlan:
    """What a worker needs for the whole run; `epoch_ns` is the run's, in monotonic nanoseconds.

    workloads: those that phases will hold. The worker imports their modules before anything is
    timed; one that first comes with its phase makes that phase late by the import. tenants: all of
    the run's; worker: which of how many `workers` this is, and so which tenants are its own.
    """

    driver: Path
    site: Site
    tenants: tuple[Tenant, ...]
    seed: int
    epoch_ns: int
    workloads: tuple[Workload, ...] = ()
    worker: int = 0
    workers: int = 1

    @property
    def mine(self) -> tuple[Tenant, ...]:
        """The tenants of this worker."""
        return self.tenants[self.worker :: self.workers]


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One phase of load: from `start_ns` (absolute monotonic clock) for at most `seconds`.

    gates: by index into `workloads`; a workload without one is active all the time. A start that
    lies 0.1 s ahead leaves time to build the schedule; one in the past makes the first actions
    late. Raises LabError when a gate is not rising windows inside the phase.
    """

    name: str
    start_ns: int
    seconds: float
    workloads: tuple[Workload, ...]
    gates: Mapping[int, Gate] = field(default_factory=dict[int, Gate])

    def __post_init__(self) -> None:
        for index, gate in self.gates.items():
            edges = [0.0, *(edge for window in gate for edge in window), self.seconds]
            # An edge computed in floats may pass the phase's end by a rounding error.
            if any(later < earlier - 1e-9 for earlier, later in pairwise(edges)):
                raise LabError(
                    f"gate {index} is not rising windows inside {self.seconds} s: {gate}"
                )

    def gate(self, index: int) -> Gate:
        """The windows in which workload `index` is active."""
        return self.gates.get(index, ((0.0, self.seconds),))


@dataclass(frozen=True, slots=True)
class Connect:
    """Open the session of every tenant that has none."""


@dataclass(frozen=True, slots=True)
class Play:
    """Build the schedule of a phase and start it at its time."""

    phase: PhasePlan


@dataclass(frozen=True, slots=True)
class Cut:
    """Start nothing further of a phase."""

    phase: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Wait for what is in flight, censor the rest, close the sessions, report."""

    drain_seconds: float


Command = Connect | Play | Cut | Finish


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The command was taken, or the worker is ready for the first."""


class Batch(msgspec.Struct, frozen=True, tag="batch"):
    """Operations that ended since the last batch."""

    ops: tuple[Op, ...]


class Connected(msgspec.Struct, frozen=True, tag="connected"):
    """How many tenants have a session, and who has none: `name: why`."""

    count: int
    failed: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker's last words: a LabError, taken apart."""

    what: str
    where: str = ""
    mend: str = ""


class PhaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker saw of one phase; late_ns: sent minus due of everything sent, as int64."""

    errors: dict[str, int]
    late_ns: bytes
    stall_ns: int
    cpu_seconds: float
    seconds: float


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report"):
    """What one worker saw of the whole run; lab/load/watch.py makes one Health of all of them."""

    phases: dict[str, PhaseReport]
    stall_ns: int
    cpu_seconds: float
    seconds: float
    transport: str
    stalls: tuple[tuple[int, int], ...] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The generator's own figures, over the whole run or in one phase.

    due: actions the schedule held; sent: those that were sent; dropped: due beyond `in_flight_max`;
    not_connected: due while the tenant had no session; censored: unfinished at the end of the run.
    lateness: sent minus due; stall: by how much the 50 ms ticker was late at worst; cpu_seconds:
    the workers' own, together; seconds: how long it lasted. stalls: when (monotonic clock, at its
    end) and for how long everything stood still. `phases`, `stalls`, `workers` and `transport` are
    the whole run's only.
    """

    due: int = 0
    sent: int = 0
    dropped: int = 0
    censored: int = 0
    not_connected: int = 0
    lateness_p50_ms: float = 0.0
    lateness_p99_ms: float = 0.0
    lateness_max_ms: float = 0.0
    stall_max_ms: float = 0.0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    workers: int = 0
    transport: str = ""
    phases: dict[str, Health] = {}
    stalls: tuple[tuple[int, int], ...] = ()

    def values(self) -> dict[str, float]:
        """All figures as a probe's values; those of a phase under `<phase>.<name>`."""
        fields = msgspec.structs.asdict(self)
        whole = {name: float(v) for name, v in fields.items() if isinstance(v, int | float)}
        each = {phase: own.values() for phase, own in self.phases.items()}
        return whole | {f"{phase}.{n}": v for phase, own in each.items() for n, v in own.items()}


Message = Done | Batch | Connected | Failed | Report

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def frame(body: bytes) -> bytes:
    """The body with its length in front."""
    return HEADER.pack(len(body)) + body


def pack(message: Message) -> bytes:
    """A message from the worker, as a frame."""
    return frame(_encoder.encode(message))


def unpack(body: bytes) -> Message:
    """A frame's body as a message. Raises msgspec.DecodeError when it is none."""
    return _decoder.decode(body)


def order(command: Command | GeneratorPlan) -> bytes:
    """A command for the worker, as a frame.

    Raises LabError when something in it cannot travel, as a behaviour that is a lambda.
    """
    try:
        return frame(pickle.dumps(command))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise LabError(
            f"a workload cannot be sent to the load generator: {error}",
            mend="a behaviour is a function at the top level of its module",
        ) from error
