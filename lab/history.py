"""What happened, as values: one `Op` per logical operation and the `History` that verifiers read.

Outcomes follow Jepsen: OK happened, FAIL certainly did not, INFO may have. All times are
nanoseconds of the monotonic clock since the run's epoch (`Opened.epoch_ns`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import msgspec

from lab.journal import Entered, Event, Opened
from lab.resources import Resources

E = TypeVar("E", bound=Event)


class Outcome(StrEnum):
    """OK: it happened. FAIL: it certainly did not. INFO: unknown (time-out, reset, cancel)."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class Op(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One logical operation of one tenant, from the moment it was due until it was over.

    id: unique in the run, the same for the same seed; session: serial of the tenant's connection.
    due_ns: when the schedule wanted it; sent_ns: when it was sent (0: never); done_ns: when it
    ended. error: empty when OK; else its class: `refused: ...`, `dropped` (too many in flight,
    never sent), `not connected`, `timeout`, `reset`, `abandoned`, `censored` (unfinished at the
    end).
    sent: the value or key that was sent; received: every byte of text that came back.
    """

    id: str
    tenant: str
    cohort: str
    session: int
    action: str
    phase: str
    due_ns: int
    sent_ns: int
    done_ns: int
    outcome: Outcome
    error: str = ""
    sent: str = ""
    received: str = ""

    @property
    def latency_ms(self) -> float:
        """From due to done; infinite unless OK: failing fast must not look like an improvement."""
        if self.outcome is not Outcome.OK:
            return float("inf")
        return (self.done_ns - self.due_ns) / 1e6


OVERHEARD = "overheard"
"""The action of a pseudo-operation that carries text no reply had; it is in no phase and cohort."""


@dataclass(frozen=True)
class History:
    """All that verifiers may look at: the operations (by due time) and the journal's events.

    overheard: pseudo-operations with text that no reply had; nothing of them counts as traffic.
    resources: what was used, by whom; nothing where no monitor went along.
    """

    ops: tuple[Op, ...]
    events: tuple[Event, ...]
    overheard: tuple[Op, ...] = ()
    resources: Resources = field(default_factory=Resources)

    @cached_property
    def opened(self) -> Opened:
        """The run's first journal line: seed, options, system, epoch."""
        return next(e for e in self.events if isinstance(e, Opened))

    def during(self, phase: str, *, cohort: str | None = None) -> tuple[Op, ...]:
        """The operations due in `phase`, of one cohort or of all."""
        return tuple(
            op for op in self.ops if op.phase == phase and (cohort is None or op.cohort == cohort)
        )

    def entered(self, phase: str) -> Entered | None:
        """The journal's line for the start of `phase`; None when the run never got there."""
        return next((e for e in self.of(Entered) if e.phase == phase), None)

    def of(self, kind: type[E]) -> tuple[E, ...]:
        """The journal's events of one kind, in order."""
        return tuple(e for e in self.events if isinstance(e, kind))


def history(
    ops: Iterable[Op], events: Iterable[Event], resources: Resources | None = None
) -> History:
    """A history with its operations in due order; ties by id, so it is the same every time."""
    rising = sorted(ops, key=lambda op: (op.due_ns, op.id))
    real = tuple(op for op in rising if op.action != OVERHEARD)
    heard = tuple(op for op in rising if op.action == OVERHEARD)
    return History(real, tuple(events), heard, resources or Resources())
