"""A fault is a frozen value that can be injected, healed, and asked whether it bit.

`applied` owns everything that must not be forgotten: the undo record on disk before the act, the
heal that cancellation cannot stop, its deadline, and the journal's lines. Faults are pairs of
coroutines rather than generators because an unshielded generator does not heal on time-out.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from anyio import CancelScope, fail_after

from lab.errors import LabError
from lab.history import Op
from lab.journal import Healed, Injected, Injecting, Journal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEAL_SECONDS = 10.0
"""A heal that takes longer is a failure of the lab (exit 4)."""


@dataclass(frozen=True, slots=True)
class Toxic:
    """A toxic on a link, in Toxiproxy's words: `upstream` is the stream to the server."""

    name: str
    type: str
    stream: str
    attributes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """A tenant's agent: its pid inside the container of `service`, and its start time (ticks)."""

    service: str
    pid: int
    started: int


Resource = Literal["cores", "memory_bytes", "pids"]
"""What a service can be short of; the names are those of `Limits`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; 0 is no limit."""

    cores: float = 0.0
    memory_bytes: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service's container right now. `started`: when its process began, as the engine says it."""

    running: bool
    paused: bool
    started: str
    limits: Limits


class Links(Protocol):
    """The proxied edges of a running stack; every write is read back before it counts."""

    async def add(self, link: str, toxic: Toxic) -> None:
        """Put a toxic on a link. Raises LabError when it does not show up in the read-back."""
        ...

    async def remove(self, link: str, toxic_name: str) -> None:
        """Take a toxic off; one that is not there is fine."""
        ...

    async def enable(self, link: str, enabled: bool) -> None:
        """Refuse (False) or accept (True) connections; disabling closes the open ones."""
        ...


class Containers(Protocol):
    """The run's own containers, by service name; nothing else can be reached through this."""

    async def agents(self) -> dict[str, AgentProcess]:
        """Tenant id -> its agent's process, for systems with the ability `agents`."""
        ...

    async def kill_process(self, process: AgentProcess, signal: int) -> None:
        """Signal exactly this process; one that is gone, or whose pid is reused, is left alone."""
        ...

    async def kill(self, service: str, signal: int) -> None:
        """Signal a service's main process, as `docker kill` does; returns once it has ended.

        One that ignores a signal other than SIGKILL runs on, and that is no error.
        """
        ...

    async def start(self, service: str) -> None:
        """Start a stopped service; a running one is fine."""
        ...

    async def stop(self, service: str) -> None:
        """Ask the service to end, and kill it when its grace is over; a stopped one is fine."""
        ...

    async def pause(self, service: str, paused: bool) -> None:
        """Freeze (True) or thaw all its processes; as they already are is fine."""
        ...

    async def limit(self, service: str, resource: Resource, amount: float) -> None:
        """Set a limit above 0. Raises LabError when it does not show up in the read-back."""
        ...

    async def unlimit(self, service: str, resource: Resource) -> None:
        """Put the limit back to what the container was created with, whoever changed it."""
        ...

    async def state(self, service: str) -> ServiceState:
        """How the service's container is right now."""
        ...


@dataclass(frozen=True, slots=True)
class Lab:
    """What a fault may touch: narrow handles, faked one by one in tests."""

    links: Links
    containers: Containers
    tenants: Mapping[str, str]  # logical name -> id in the system


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen in a stretch of time: the operations due in it, the growth of counters."""

    seconds: float
    ops: Sequence[Op]
    counters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Effect:
    """Whether the fault bit, how that is known, and what was observed (units in the names)."""

    bit: bool
    how: str
    observed: Mapping[str, float]


class Fault(Protocol):
    """The unit of chaos: frozen slotted dataclasses implement it, their fields are the schema."""

    kind: ClassVar[str]

    @property
    def target(self) -> str:
        """What is hit, as in `link redis` or `agent of target-0`."""
        ...

    async def inject(self, lab: Lab) -> None:
        """Put the fault in place; returns when it is known to be."""
        ...

    async def heal(self, lab: Lab) -> None:
        """Undo it; idempotent, and safe when inject never finished."""
        ...

    def effect(self, before: Window, during: Window) -> Effect:
        """Judge from recorded traffic and counters whether the target really felt it."""
        ...


def name_of(fault: Fault) -> str:
    """The fault's name in journal and report, as in `latency on link redis`."""
    return f"{fault.kind} on {fault.target}"


def settings(fault: Fault) -> dict[str, Any]:
    """The fault's fields, as the journal keeps them; `kind(**settings)` rebuilds it."""
    instance: DataclassInstance = fault  # type: ignore[assignment]
    return asdict(instance)


@asynccontextmanager
async def applied(
    fault: Fault, lab: Lab, journal: Journal, *, epoch_ns: int
) -> AsyncGenerator[None]:
    """Hold `fault` in place for the body. Heals whatever happens; a failed heal raises LabError."""
    name = name_of(fault)
    journal.append(
        Injecting(
            fault=name, kind=fault.kind, settings=settings(fault), at_ns=monotonic_ns() - epoch_ns
        ),
        durable=True,
    )
    try:
        asked_ns = monotonic_ns() - epoch_ns
        await fault.inject(lab)
        journal.append(Injected(fault=name, asked_ns=asked_ns, at_ns=monotonic_ns() - epoch_ns))
        yield
    finally:
        await _healed(name, fault, lab, journal, epoch_ns)


async def _healed(name: str, fault: Fault, lab: Lab, journal: Journal, epoch_ns: int) -> None:
    """Heal under a shield and a deadline of its own, and say in the journal how it went."""
    asked_ns = monotonic_ns() - epoch_ns
    error = ""
    with CancelScope(shield=True):
        try:
            with fail_after(HEAL_SECONDS):
                await fault.heal(lab)
        except TimeoutError:
            error = f"not healed within {HEAL_SECONDS:g} s"
        except (LabError, OSError) as problem:
            error = str(problem)
        journal.append(
            Healed(fault=name, asked_ns=asked_ns, at_ns=monotonic_ns() - epoch_ns, error=error),
            durable=True,
        )
    if error:
        raise LabError(f"the heal failed: {error}", where=name, mend="`lab heal RUN` tries again")
