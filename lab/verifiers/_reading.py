"""What several verifiers read from a history in the same way, and how they word a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from lab.history import History, Op, Outcome
from lab.journal import Healed, Injected, Injecting, Left, Sampled
from lab.verdict import Status, Verdict

EVIDENCE_MAX = 5
"""A verdict shows at most this many lines; the exposures tell how many there were."""

ABANDONED = "abandoned"
"""The error of an operation that the lab itself cut off on purpose."""

NEVER_SENT = frozenset({"dropped", "not connected"})
"""Errors of operations that the lab did not send."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A verifier's name, the sentence it judges, and the requirements that the sentence answers."""

    verifier: str
    text: str
    requirements: tuple[str, ...]

    def is_(
        self,
        status: Status,
        reason: str,
        *,
        measured: Mapping[str, float] | None = None,
        exposures: Mapping[str, int] | None = None,
        evidence: Iterable[str] = (),
    ) -> Verdict:
        """The verdict. Numbers that are not finite are left out, for JSON has no word for them."""
        return Verdict(
            verifier=self.verifier,
            claim=self.text,
            status=status,
            reason=reason,
            measured={k: float(v) for k, v in (measured or {}).items() if isfinite(v)},
            exposures=dict(exposures or {}),
            evidence=tuple(evidence)[:EVIDENCE_MAX],
            requirements=self.requirements,
        )

    def unknown(self, reason: str, *, exposures: Mapping[str, int] | None = None) -> Verdict:
        """UNKNOWN, and why."""
        return self.is_(Status.UNKNOWN, reason, exposures=exposures)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the run, in nanoseconds since its epoch."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / 1e9


def span(history: History, phase: str) -> Span | None:
    """From the start of a phase's load to its `Left`; None when the run never got through it.

    The load's start is told by `Sampled(probe="load <phase>")`, for faults and counters take their
    time after `Entered`; without that line it is `Entered` itself.
    """
    entered = history.entered(phase)
    left = next((e for e in history.of(Left) if e.phase == phase), None)
    if entered is None or left is None:
        return None
    load = sampled(history, f"load {phase}")
    return Span(load[-1].at_ns if load else entered.at_ns, left.at_ns)


def sampled(history: History, probe: str) -> tuple[Sampled, ...]:
    """All readings of one probe, in order."""
    return tuple(e for e in history.of(Sampled) if e.probe == probe)


def stalls(history: History) -> tuple[Span, ...]:
    """When the host stood still: `Sampled(probe="stall")` at its end, with `stall_ms` long."""
    return tuple(
        Span(e.at_ns - int(e.values["stall_ms"] * 1e6), e.at_ns) for e in sampled(history, "stall")
    )


def fault_windows(history: History, *, settle_seconds: float) -> tuple[Span, ...]:
    """When something was broken on purpose: from just before the act to `settle_seconds` after.

    A fault that was never healed lasts to the end of time.
    """
    windows: list[Span] = []
    open_since: dict[str, int] = {}
    for event in history.events:
        if isinstance(event, Injecting | Injected):
            since = event.at_ns if isinstance(event, Injecting) else event.asked_ns
            open_since.setdefault(event.fault, since)
        elif isinstance(event, Healed) and event.fault in open_since:
            until = event.at_ns + int(settle_seconds * 1e9)
            windows.append(Span(open_since.pop(event.fault), until))
    return (*windows, *(Span(since, 1 << 62) for since in open_since.values()))


def lab_did_it(op: Op) -> bool:
    """The lab cut the operation off itself, so nothing can be held against the system."""
    return op.error == ABANDONED


def tenants_of(ops: Iterable[Op]) -> dict[str, list[Op]]:
    """The operations by tenant, tenants in name order."""
    by_tenant: dict[str, list[Op]] = {}
    for op in ops:
        by_tenant.setdefault(op.tenant, []).append(op)
    return dict(sorted(by_tenant.items()))


def share(part: int, whole: int) -> float:
    """part / whole; 0 of 0 is 0."""
    return part / whole if whole else 0.0


def ok_share(ops: Iterable[Op]) -> float:
    """The share of operations that were OK, those the lab cut off itself left out."""
    counted = [op.outcome is Outcome.OK for op in ops if not lab_did_it(op)]
    return share(sum(counted), len(counted))


def tally(words: Iterable[str]) -> str:
    """`timeout x 3, reset x 1`: what there was, most frequent first."""
    return ", ".join(f"{word} x {n}" for word, n in Counter(words).most_common(EVIDENCE_MAX))


def shown(op: Op) -> str:
    """One operation as a line of evidence."""
    return (
        f"{op.tenant} {op.action} {op.id} in {op.phase!r}, due {op.due_ns / 1e9:.3f} s:"
        f" {op.outcome} {op.error}".rstrip()
    )
