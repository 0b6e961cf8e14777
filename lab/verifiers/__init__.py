"""The verifiers: functions that return a pure judgement, `History -> Verdict`, one module a claim.

Every one states its exposures and the least evidence it needs, and says UNKNOWN with less. A new
verifier is a module-level function that returns one; `lab/verifiers/cleanup.py` is a short one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lab.history import History
from lab.verdict import Status, Verdict

__all__ = ["judge_all"]


def judge_all(
    verifiers: Iterable[Callable[[History], Verdict]], history: History
) -> tuple[Verdict, ...]:
    """Every verifier's verdict, in order; one that raises is UNKNOWN and never silences the others.

    The only place of the lab that turns any exception into a result, as Jepsen's check-safe does:
    a checker's own bug must neither pass nor hide what the other checkers found.
    """
    return tuple(_safely(verifier, history) for verifier in verifiers)


def _safely(verifier: Callable[[History], Verdict], history: History) -> Verdict:
    try:
        return verifier(history)
    except Exception as error:  # noqa: BLE001 - it becomes a verdict that names it, and is never HELD
        module = getattr(verifier, "__module__", type(verifier).__module__)
        return Verdict(
            verifier=str(module).rsplit(".", 1)[-1],
            claim=(getattr(verifier, "__doc__", None) or "not reached").splitlines()[0],
            status=Status.UNKNOWN,
            reason=f"the verifier failed: {type(error).__name__}: {error}",
            evidence=(_where(error),),
        )


def _where(error: BaseException) -> str:
    """The innermost line that raised, as `module:line`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "no line known"
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
