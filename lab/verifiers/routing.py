"""Every message sent while nothing is broken is answered: each operation is accounted for, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from lab.history import History, Op, Outcome
from lab.verdict import Status, Verdict
from lab.verifiers._reading import (
    Claim,
    Span,
    fault_windows,
    lab_did_it,
    share,
    shown,
    span,
    tally,
)

CLAIM = Claim("routing", "every message sent while nothing is broken is answered", ("P2", "S4"))


def every_message_is_answered(
    *,
    of: tuple[str, ...] = (),
    ok_share_min: float = 0.99,
    settle_seconds: float = 5.0,
    excluding: tuple[str, ...] = (),
    messages_min: int = 100,
) -> Callable[[History], Verdict]:
    """In every cohort (or those in `of`), `ok_share_min` of what is sent in calm times is answered.

    Answered is OK or a clear refusal; a time-out, a reset, a lost connection or no end at all is
    not. A cohort without a single success is a violation. Calm is what no fault touched between due
    and done, faults lasting until `settle_seconds` after their heal; phases in `excluding` are not.
    Not held against the system: what the lab cut off itself, and what it never sent because too
    much was in flight; but with more of the latter than 1 - ok_share_min, nothing can be said.
    """

    def judge(history: History) -> Verdict:
        """Every message sent while nothing is broken is answered."""
        _once(history.ops)
        broken = fault_windows(history, settle_seconds=settle_seconds)
        loud = tuple(s for s in (span(history, phase) for phase in excluding) if s is not None)
        cohorts = of or tuple(sorted({op.cohort for op in history.ops}))
        calm = {
            cohort: [
                op
                for op in history.ops
                if op.cohort == cohort
                and op.phase not in excluding
                and not lab_did_it(op)
                and not _touched(op, (*broken, *loud))
            ]
            for cohort in cohorts
        }
        found = [
            _account(cohort, calm[cohort], 1 - ok_share_min, messages_min) for cohort in cohorts
        ]
        if not found:
            return CLAIM.unknown("nobody sent anything")
        status, reason = max(found, key=lambda f: f[0].badness)
        everything = [op for ops in calm.values() for op in ops]
        return CLAIM.is_(
            status,
            reason,
            measured=_measured(everything),
            exposures={"messages": len(everything), "operations": len(history.ops)},
            evidence=(shown(op) for op in everything if _unanswered(op)),
        )

    return judge


def _once(ops: Sequence[Op]) -> None:
    """Raises ValueError when an operation is told twice: nothing counted here would be true."""
    twice = [op_id for op_id, n in Counter(op.id for op in ops).items() if n > 1]
    if twice:
        raise ValueError(f"{len(twice)} operations occur more than once, as {twice[0]}")


def _touched(op: Op, windows: Sequence[Span]) -> bool:
    return any(op.due_ns < w.end_ns and max(op.due_ns, op.done_ns) > w.start_ns for w in windows)


def _unanswered(op: Op) -> bool:
    return op.outcome is Outcome.INFO or op.error == "not connected"


def _account(
    cohort: str, ops: Sequence[Op], lost_share_max: float, messages_min: int
) -> tuple[Status, str]:
    """One cohort's status and the sentence that says why."""
    sent = [op for op in ops if op.error != "dropped"]
    lost = [op for op in sent if _unanswered(op)]
    if len(sent) < messages_min:
        needed = f"at least {messages_min} needed"
        return Status.UNKNOWN, f"{cohort} sent {len(sent)} messages in calm times, {needed}"
    if not any(op.outcome is Outcome.OK for op in sent):
        return Status.VIOLATED, f"none of {len(sent)} messages of {cohort} succeeded"
    told = f"{len(lost)} of {len(sent)} messages of {cohort} unanswered"
    if share(len(lost), len(sent)) > lost_share_max:
        return Status.VIOLATED, f"{told}: {tally(op.error for op in lost)}"
    dropped = len(ops) - len(sent)
    if share(dropped, len(ops)) > lost_share_max:
        return Status.UNKNOWN, f"{dropped} of {len(ops)} messages of {cohort} were never sent"
    return Status.HELD, told


def _measured(ops: Sequence[Op]) -> dict[str, float]:
    sent = [op for op in ops if op.error != "dropped"]
    refused = sum(op.outcome is Outcome.FAIL and op.error != "not connected" for op in sent)
    return {
        "unanswered_share": share(sum(_unanswered(op) for op in sent), len(sent)),
        "refused_share": share(refused, len(sent)),
        "dropped_share": share(len(ops) - len(sent), len(ops)),
    }
