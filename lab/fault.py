"""A fault is a frozen value that can be injected, healed, and asked whether it bit.

`applied` owns everything that must not be forgotten: the undo record on disk before the act, the
heal that cancellation cannot stop, its deadline, and the journal's lines. Faults are pairs of
coroutines rather than generators because an unshielded generator does not heal on time-out.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from anyio import CancelScope, fail_after

from lab.errors import LabError, UsageError
from lab.hands import Lab
from lab.history import Op
from lab.journal import Healed, Injected, Injecting, Journal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEAL_SECONDS = 10.0
"""A heal that takes longer is a failure of the lab (exit 4).

It is told so at once or, where work in a thread is under way, when that ends: a thread cannot be
stopped, and one that went on unseen might undo a later fault. Such work is a few calls to the
engine, none of which may be silent for longer than `lab.engine.api.HANDS_SECONDS`.
"""


TARGETS = ("link", "service", "tenant")
"""Fields that name what is hit."""


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


@runtime_checkable
class Observing(Protocol):
    """A fault with a witness of its own beside the traffic: counters that only grow."""

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """Read the counters, before inject and again before heal; missing ones count as 0.

        Their growth is `Window.counters` of the phase in which the fault was in place.
        """
        ...


@runtime_checkable
class Fitted(Protocol):
    """A fault that needs `service` to be fitted with something (`lab/stack/fittings.py`)."""

    needs: ClassVar[frozenset[str]]

    @property
    def service(self) -> str:
        """The service that has to be fitted."""
        ...


@runtime_checkable
class ByClients(Protocol):
    """A fault that is done by clients of a tenant's own: the lab has to have that tenant."""

    by_clients: ClassVar[bool]

    @property
    def tenant(self) -> str:
        """The tenant's logical name."""
        ...


def name_of(fault: Fault) -> str:
    """The fault's name in journal and report, as in `latency on link redis (delay_ms=200)`.

    All its fields are in it but those that say what is hit, and those that nobody set: two faults
    of a kind in one place are two names.
    """
    instance: DataclassInstance = fault  # type: ignore[assignment]
    given = [
        f"{field.name}={getattr(fault, field.name)}"
        for field in fields(instance)
        if field.name not in TARGETS and getattr(fault, field.name) != field.default
    ]
    return f"{fault.kind} on {fault.target}" + (f" ({', '.join(given)})" if given else "")


def covers_open(fault: Fault | type[Fault]) -> bool:
    """Whether connections that were open before the injection feel the fault as new ones do.

    They do unless the class says otherwise: `covers_open: ClassVar[bool] = False`.
    """
    return bool(getattr(fault, "covers_open", True))


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
    injected = False
    try:
        asked_ns = monotonic_ns() - epoch_ns
        await fault.inject(lab)
        injected = True
        journal.append(Injected(fault=name, asked_ns=asked_ns, at_ns=monotonic_ns() - epoch_ns))
        yield
    finally:
        await healed(name, fault, lab, journal, epoch_ns, injected=injected)


async def attempt(fault: Fault, lab: Lab, *, injected: bool) -> str:
    """Heal once, under a shield and a deadline of its own; returns what went wrong, or nothing.

    A hand that refuses (UsageError) a fault whose injection never returned has nothing of the kind
    in this stack: there is nothing to heal either. Of one that was in place, it is an error.
    """
    with CancelScope(shield=True):
        try:
            with fail_after(HEAL_SECONDS):
                await fault.heal(lab)
        except TimeoutError:
            return f"not healed within {HEAL_SECONDS:g} s"
        except UsageError as refusal:
            return str(refusal) if injected else ""
        except (LabError, OSError) as problem:
            return str(problem) or type(problem).__name__
    return ""


async def healed(
    name: str, fault: Fault, lab: Lab, journal: Journal, epoch_ns: int, *, injected: bool
) -> None:
    """As `attempt`, and said in the journal. Raises LabError when the heal failed."""
    asked_ns = monotonic_ns() - epoch_ns
    error = await attempt(fault, lab, injected=injected)
    journal.append(
        Healed(fault=name, asked_ns=asked_ns, at_ns=monotonic_ns() - epoch_ns, error=error),
        durable=True,
    )
    if error:
        raise LabError(f"the heal failed: {error}", where=name, mend="`lab heal RUN` tries again")
