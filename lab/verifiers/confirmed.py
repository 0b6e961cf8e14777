"""Attacks and faults were real: a claim that survived an attack that never came is worth nothing.

These never say VIOLATED, for the system is not to blame; UNKNOWN makes the run exit with 3.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.history import History, Op
from lab.journal import Confirmed, Injected, Injecting
from lab.verdict import Status, Verdict
from lab.verifiers._reading import NEVER_SENT, Claim, share, span, tally

CLAIM = Claim("confirmed", "every fault was felt by its target", ("N1", "H1"))
FLOOD = Claim("confirmed", "the flood was as large as it was meant to be", ("R5", "H1"))


def every_fault_bit() -> Callable[[History], Verdict]:
    """Every fault that was begun was injected and confirmed to bite, as often as it was begun."""

    def judge(history: History) -> Verdict:
        """Every fault was felt by its target."""
        begun = [event.fault for event in history.of(Injecting)]
        injected = [event.fault for event in history.of(Injected)]
        confirmed = history.of(Confirmed)
        bit = [event.fault for event in confirmed if event.bit]
        exposures = {"faults": max(len(begun), len(injected)), "bit": len(bit)}
        names = sorted({*begun, *injected})
        if not names:
            return CLAIM.unknown("no fault was injected", exposures=exposures)
        missing = [f"{e.fault}: did not bite: {e.how}" for e in confirmed if not e.bit]
        for name in names:
            meant = max(begun.count(name), injected.count(name))
            told = sum(event.fault == name for event in confirmed)
            if injected.count(name) < meant:
                missing.append(f"{name}: injected {injected.count(name)} of {meant} times")
            if told < meant:
                missing.append(f"{name}: confirmed or denied {told} of {meant} times")
        if missing:
            return CLAIM.is_(
                Status.UNKNOWN,
                f"not every fault is known to have bitten: {missing[0]}",
                exposures=exposures,
                evidence=missing,
            )
        how = "; ".join(f"{e.fault}: {e.how}" for e in confirmed[:3])
        return CLAIM.is_(Status.HELD, how, exposures=exposures)

    return judge


def the_flood_was_real(
    *, cohort: str = "noisy", phase: str, per_second_min: float
) -> Callable[[History], Verdict]:
    """The aggressors tried at least `per_second_min` actions a second together during `phase`.

    What was dropped because too much was in flight counts as tried: the pressure was at its bound.
    What was due without a connection does not.
    """

    def judge(history: History) -> Verdict:
        """The flood was as large as it was meant to be."""
        stretch = span(history, phase)
        ops = history.during(phase, cohort=cohort)
        sent = sum(op.sent_ns > 0 and op.error not in NEVER_SENT for op in ops)
        exposures = {"attempts": len(ops), "sent": sent}
        if stretch is None or stretch.seconds <= 0:
            return FLOOD.unknown(f"the run never got through {phase!r}", exposures=exposures)
        tried = sum(_pressed(op) for op in ops)
        rate = tried / stretch.seconds
        measured = {
            "attempts_per_second": rate,
            "sent_per_second": sent / stretch.seconds,
            "sent_share": share(sent, tried),
            "per_second_min": per_second_min,
        }
        real = rate >= per_second_min and sent > 0
        words = f"{cohort} tried {rate:.1f} actions a second of at least {per_second_min:g}"
        return FLOOD.is_(
            Status.HELD if real else Status.UNKNOWN,
            words if sent else f"{words}, and none was sent: {tally(op.error for op in ops)}",
            measured=measured,
            exposures=exposures,
        )

    return judge


def _pressed(op: Op) -> bool:
    return op.error == "dropped" or (op.sent_ns > 0 and op.error not in NEVER_SENT)
