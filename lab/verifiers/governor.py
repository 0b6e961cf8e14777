"""The governor names the culprit, stops it in time, and touches nobody else.

Read from the journal alone: findings are `Sampled(probe="governor")`, acts are `Acted` by the
governor. Recovery after the attack is `recovery`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite

from lab.history import History
from lab.verdict import Status, Verdict
from lab.verifiers._attacks import MITIGATED_RATIO, attack, figures, named, p95_ms, touched
from lab.verifiers._reading import Claim

CLAIM = Claim(
    "governor", "the culprit is named and stopped, and nobody else is", ("R5", "R8", "H9")
)


def culprit_is_stopped(
    *,
    culprits: str,
    of: str,
    attacks: Sequence[tuple[str, str, str]],
    undefended: tuple[str, str] | None = None,
    found_seconds_max: float = 30.0,
    mitigated_seconds_max: float = 60.0,
    attacks_min: int = 1,
) -> Callable[[History], Verdict]:
    """In every attack a tenant of `culprits` is named and stopped in time; no other is touched.

    attacks: (calm phase before, attack, calm phase after), in which `of` are the victims. At least
    `attacks_min` of them have to do harm, and be stopped within what was watched; in `undefended`
    (calm, attack), where nobody stepped in, it has to do harm. The bounds are requirement R5's.
    """

    def judge(history: History) -> Verdict:
        """The culprit is named and stopped, and nobody else is."""
        harm = _harm(history, undefended, of)
        guilty = {op.tenant for op in history.ops if op.cohort == culprits}
        seen = [a for names in attacks if (a := attack(history, *names, culprits=culprits, of=of))]
        harmful = [each for each in seen if each.harmful]
        innocents = touched(history, guilty)
        wrong = named(history) - guilty
        late = [a for a in harmful if found_seconds_max < min(a.found_seconds, a.watched_seconds)]
        slow = [
            a
            for a in harmful
            if a.steady and mitigated_seconds_max < min(a.mitigated_seconds, a.watched_seconds)
        ]
        exposures = {
            "attacks": len(seen),
            "attacks_harmful": len(harmful),
            "attacks_unsteady": sum(not a.steady for a in harmful),
            "innocents_touched": len(innocents),
            "wrong_names": len(wrong),
        }
        faults = (
            *(f"{act.tenant} had done nothing: {act.action}: {act.reason}" for act in innocents),
            *(f"{tenant} was blamed, and is not of {culprits}" for tenant in sorted(wrong)),
            *(str(each) for each in (*late, *slow)),
        )
        measured = figures(harmful) | {"undefended_ratio": harm}
        if faults:
            words = f"{len(faults)} faults, the first: {faults[0]}"
            return CLAIM.is_(
                Status.VIOLATED, words, measured=measured, exposures=exposures, evidence=faults
            )
        known = sum(a.steady and isfinite(a.found_seconds + a.mitigated_seconds) for a in harmful)
        found, eased = measured["found_seconds_max"], measured["mitigated_seconds_max"]
        words = (
            f"{len(harmful)} of {len(seen)} attacks did harm; found after {found:.2f} s at most,"
            f" mitigated after {eased:.2f} s; nobody else was touched"
        )
        enough = known >= attacks_min and harm >= MITIGATED_RATIO
        status = Status.HELD if enough else Status.UNKNOWN
        told = f"{known} attacks to judge of {attacks_min} needed, undefended p95 x{harm:.2f}"
        why = words if enough else f"{told}: {words}"
        shown = (str(each) for each in harmful)
        return CLAIM.is_(status, why, measured=measured, exposures=exposures, evidence=shown)

    return judge


def _harm(history: History, undefended: tuple[str, str] | None, of: str) -> float:
    """How many times the usual p95 the victims have where nobody steps in."""
    if undefended is None:
        return inf
    calm, hit = (p95_ms(history.during(phase, cohort=of)) for phase in undefended)
    return hit / calm
