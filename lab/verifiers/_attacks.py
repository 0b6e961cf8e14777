"""Attacks, and what a governor did about them, as the governor's verifier reads a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan

import numpy as np

from lab.history import History, Op
from lab.journal import GOVERNOR, Acted, Injected
from lab.stats.series import quantile_of, series
from lab.verifiers._reading import sampled, share, span

MITIGATED_RATIO, HARM_RATIO = 1.10, 1.5
"""The p95 that is back to what it was before, and the one at which others are hurt: an attack that
does so must not go unnoticed, and is not over as long as it does."""

STEADY_RATIO = 1.25
"""The p95 before and after differ by less on a host that is quiet: three standard errors of each
(1.4 / sqrt(n), for some 500 operations). Nor does a window of the calm before hurt there: a host
on which one does says nothing of whether an attack still hurts."""

WINDOW_SECONDS, STEP_SECONDS, WINDOW_MIN, FELT_RATIO = 1.0, 0.05, 60, 1.25
"""The victims' p95 is that of a rolling window; by how much it rolls, the operations it needs, and
the ratio that is no chance any more. A p95 of 200 operations has a standard error of 10 % (1.4 /
sqrt(n)): where all is as before, five windows in six are within 1.10, so that the moment is told
to within some 0.3 s, and late."""

SETTLING_NS = 1_000_000_000
"""So long a calm may still feel the attack before it, whose last requests give up by then; it is
neither usual nor steady until they have."""

LEAVING_NS = 300_000_000
"""What is due so shortly before an attack ends meets its end, too: sockets that are closed and
queues that are dropped, all at once. It says nothing of whether the attack was held off."""

UNDONE = ("lifted", "could not")
"""How the action begins that does nothing to a tenant."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What became of one attack; seconds count from its onset and are infinite for never.

    usual_ms: the victims' p95 in the calm before; ratio: theirs until the first act, over it;
    steady: whether the host was quiet enough to tell mitigation from noise (STEADY_RATIO);
    watched_seconds: how long it lasted, for what did not come in that time may have come later.
    """

    phase: str
    onset_ns: int
    usual_ms: float
    named: tuple[str, ...]
    found_seconds: float
    acted_seconds: float
    mitigated_seconds: float
    ratio: float
    steady: bool
    watched_seconds: float

    @property
    def harmful(self) -> bool:
        """Whether there was anything to find."""
        return bool(self.named) or self.ratio >= HARM_RATIO

    def __str__(self) -> str:
        return (
            f"{self.phase!r}: found after {self.found_seconds:.2f} s ({', '.join(self.named)}),"
            f" acted after {self.acted_seconds:.2f} s,"
            f" mitigated after {self.mitigated_seconds:.2f} s, p95 x{self.ratio:.2f} at first"
        )


def attack(
    history: History, before: str, name: str, after: str, *, culprits: str, of: str
) -> Attack | None:
    """What became of the attack in phase `name`; None when the run never got through it."""
    stretch, victims = span(history, name), history.during(name, cohort=of)
    calm = [_settled(history.during(phase, cohort=of)) for phase in (before, after)]
    each = [p95_ms(ops) for ops in calm]
    usual = each[0]
    if stretch is None or not victims or not isfinite(usual):
        return None
    onset_ns = _onset(history, name, stretch.start_ns, culprits)
    victims = [op for op in victims if op.due_ns < stretch.end_ns - LEAVING_NS]

    def since(at_ns: int | None) -> float:
        return inf if at_ns is None else (at_ns - onset_ns) / 1e9

    findings = [
        (e.at_ns, e.items["culprit"][0])
        for e in sampled(history, GOVERNOR)
        if "culprit" in e.items and onset_ns <= e.at_ns <= stretch.end_ns
    ]
    acts = [
        e.at_ns for e in history.of(Acted)
        if _does(e) and onset_ns <= e.at_ns <= stretch.end_ns
    ]  # fmt: skip
    first_act_ns = min(acts, default=None)
    until_ns = first_act_ns or stretch.end_ns
    hit = [op for op in victims if onset_ns <= op.due_ns <= until_ns]
    return Attack(
        phase=name,
        onset_ns=onset_ns,
        usual_ms=usual,
        named=tuple(dict.fromkeys(tenant for _, tenant in findings)),
        found_seconds=since(min((at for at, _ in findings), default=None)),
        acted_seconds=since(first_act_ns),
        mitigated_seconds=mitigated(victims, onset_ns, usual),
        ratio=p95_ms(hit) / usual if hit else 1.0,
        steady=max(each) <= STEADY_RATIO * min(each) and _undisturbed(calm[0], usual),
        watched_seconds=since(stretch.end_ns),
    )


def mitigated(victims: Sequence[Op], onset_ns: int, usual_ms: float) -> float:
    """After how many seconds the victims' p95 was back, and never again where it hurts.

    That of a rolling window of operations by their due times, and the window's beginning: the first
    after the last one that hurt, or, where none did, after the first one that felt it. 0 where none
    felt it; infinite where none was back before the end; NaN where too little was asked to tell.
    """
    ratios = _rolling(victims, onset_ns, usual_ms)
    hurt = [start for start, ratio in ratios.items() if ratio >= HARM_RATIO]
    felt = [start for start, ratio in ratios.items() if ratio > FELT_RATIO]
    if not felt:
        return 0.0 if ratios else nan
    since = hurt[-1] if hurt else felt[0]
    return next((s for s, ratio in ratios.items() if s > since and ratio <= MITIGATED_RATIO), inf)


def _settled(ops: Sequence[Op]) -> list[Op]:
    since_ns = min((op.due_ns for op in ops), default=0) + SETTLING_NS
    return [op for op in ops if op.due_ns >= since_ns]


def _undisturbed(ops: Sequence[Op], usual_ms: float) -> bool:
    ratios = _rolling(ops, min(op.due_ns for op in ops), usual_ms)
    return max(ratios.values(), default=1.0) < HARM_RATIO


def _rolling(ops: Sequence[Op], since_ns: int, usual_ms: float) -> dict[float, float]:
    """Each window's beginning, in seconds after `since_ns` -> its p95 over the usual one."""
    due, latency_ms = series(ops, since_ns=since_ns)
    starts = np.arange(0.0, float(due.max()) - WINDOW_SECONDS, STEP_SECONDS)
    windows = [
        (float(start), latency_ms[(due >= start) & (due < start + WINDOW_SECONDS)])
        for start in starts
    ]
    return {s: quantile_of(w, 0.95) / usual_ms for s, w in windows if len(w) >= WINDOW_MIN}


def named(history: History) -> set[str]:
    """Everybody whom the governor ever called a culprit."""
    findings = sampled(history, GOVERNOR)
    return {name for each in findings for name in each.items.get("culprit", ())}


def touched(history: History, guilty: set[str]) -> list[Acted]:
    """What the governor did to anybody else, in the whole run."""
    return [act for act in history.of(Acted) if _does(act) and act.tenant not in guilty]


def figures(attacks: Sequence[Attack]) -> dict[str, float]:
    """p50, p95 (order statistics) and maximum of both times, and the share that was named."""
    found = np.array([a.found_seconds for a in attacks])
    eased = np.array([a.mitigated_seconds for a in attacks if a.steady])
    return {
        "found_seconds_p50": quantile_of(found, 0.5),
        "mitigated_seconds_p50": quantile_of(eased, 0.5),
        "found_seconds_p95": quantile_of(found, 0.95),
        "found_seconds_max": quantile_of(found, 1.0),
        "mitigated_seconds_p95": quantile_of(eased, 0.95),
        "mitigated_seconds_max": quantile_of(eased, 1.0),
        "found_share": share(int(np.isfinite(found).sum()), len(found)),
    }


def _does(act: Acted) -> bool:
    return act.actor == GOVERNOR and bool(act.tenant) and not act.action.startswith(UNDONE)


def _onset(history: History, phase: str, start_ns: int, culprits: str) -> int:
    """When the attack began: its first operation was sent, or its fault was in place."""
    sent = [op.sent_ns for op in history.during(phase, cohort=culprits) if op.sent_ns]
    entered = history.entered(phase)
    since_ns = entered.at_ns if entered else start_ns
    asked = [e.asked_ns for e in history.of(Injected) if since_ns <= e.asked_ns <= start_ns]
    return min((*sent, *asked), default=start_ns)


def p95_ms(ops: Sequence[Op]) -> float:
    """Infinite where more than one in twenty did not end well."""
    return quantile_of(series(ops, since_ns=0)[1], 0.95)
