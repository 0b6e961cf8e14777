"""Nothing of the tenants stays behind: the census after them equals the one before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from lab.history import History
from lab.verdict import Status, Verdict
from lab.verifiers._reading import Claim, sampled

CLAIM = Claim(
    "cleanup", "when the tenants are gone, nothing of them is left", ("R7", "N2", "V8.4.1")
)


def nothing_left(*, before: str = "before", after: str = "after") -> Callable[[History], Verdict]:
    """Compare `Sampled(probe="census <before>")` with `census <after>`, kind by kind, exactly.

    A kind is what the driver's census calls it (`rows`, `keys`, `connections`, `processes`); names
    count as often as they occur. Needs both samples, tenants in between, and a census taken while
    they were there (`census during`) that lists more than the one before: one that sees nothing of
    tenants who are there cannot see what they leave.
    """

    def judge(history: History) -> Verdict:
        """Nothing of the tenants is left."""
        first, last = sampled(history, f"census {before}"), sampled(history, f"census {after}")
        tenants = sum(len(e.items) for e in sampled(history, "tenants"))
        exposures = {"tenants": tenants, "operations": len(history.ops)}
        if not first or not last:
            missing = before if not first else after
            return CLAIM.unknown(f"no census {missing!r} was taken", exposures=exposures)
        kinds = sorted({*first[0].items, *last[-1].items})
        exposures |= {f"{kind}_before": len(first[0].items.get(kind, ())) for kind in kinds}
        if not kinds:
            return CLAIM.unknown("the census lists no kind of thing", exposures=exposures)
        if not tenants or not history.ops:
            return CLAIM.unknown("no tenant did anything in between", exposures=exposures)
        during = sampled(history, "census during")
        seen = sum(
            len(_differences(kind, first[0].items.get(kind, ()), e.items.get(kind, ())))
            for e in during
            for kind in e.items
        )
        exposures["seen_while_there"] = seen
        differences = [
            line
            for kind in kinds
            for line in _differences(
                kind, first[0].items.get(kind, ()), last[-1].items.get(kind, ())
            )
        ]
        if differences:
            return CLAIM.is_(
                Status.VIOLATED,
                f"{len(differences)} things differ from the census before",
                measured={"differences": len(differences)},
                exposures=exposures,
                evidence=differences,
            )
        if not seen:
            reason = "the census saw nothing of the tenants while they were there"
            return CLAIM.unknown(reason, exposures=exposures)
        reason = f"{', '.join(kinds)}: as before, after {tenants} tenants"
        return CLAIM.is_(Status.HELD, reason, measured={"differences": 0}, exposures=exposures)

    return judge


def _differences(kind: str, before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """`+ kind: name` for what was added, `- kind: name` for what is missing."""
    was, now = Counter(before), Counter(after)
    added = [f"+ {kind}: {name}" for name in sorted((now - was).elements())]
    return added + [f"- {kind}: {name}" for name in sorted((was - now).elements())]
