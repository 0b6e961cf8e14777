"""Measures against tenants: each written down with its reason, all undone in the end."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

from anyio import CancelScope

from lab.errors import LabError
from lab.governor.measures import Measure, Reach, Undo
from lab.journal import GOVERNOR, Acted, Journal

PROBLEMS = (LabError, OSError)
"""What a system says that is down, or does not want to."""


class QuotaEnforcer:
    """Takes measures and lifts them. The journal's `Acted` lines are the audit trail.

    Enforcement is admission by the system, a signal or a cancelled query, and is proved by the
    system's own counters; it is never a priority or a plea. clock_ns: monotonic.
    """

    def __init__(
        self,
        reach: Reach,
        journal: Journal,
        epoch_ns: int,
        clock_ns: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._reach, self._journal = reach, journal
        self._epoch_ns, self._clock_ns = epoch_ns, clock_ns
        self._taken: dict[str, list[tuple[Measure, Undo]]] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """The tenants against whom something is in place."""
        return tuple(self._taken)

    async def enforce(self, measure: Measure, reason: str) -> bool:
        """Take a measure; whether it could be taken. Either way it is written down.

        One that is in place is left as it is: another resource's ladder may have it, too.
        """
        if any(measure == each for each, _ in self._taken.get(measure.tenant, ())):
            return True
        try:
            undo = await measure.take(self._reach)
        except PROBLEMS as problem:
            self._note(f"could not {measure}", str(problem), measure.tenant)
            return False
        held = self._taken.setdefault(measure.tenant, [])
        if undo is not None:
            held.append((measure, undo))
        self._note(str(measure), reason, measure.tenant)
        return True

    async def lift(self, tenant: str, reason: str) -> None:
        """Undo all that is in place against a tenant, the last measure first; not to be cancelled.

        Every one is tried. Raises LabError for the first that cannot be undone, which stays held.
        """
        held, stuck = self._taken.pop(tenant, []), list[tuple[Measure, Undo]]()
        told = ""
        with CancelScope(shield=True):
            for measure, undo in reversed(held):
                try:
                    await undo()
                    self._note(f"lifted: {measure}", reason, tenant)
                except PROBLEMS as problem:
                    self._note(f"could not lift: {measure}", str(problem), tenant)
                    stuck.insert(0, (measure, undo))
                    told = told or f"{measure} cannot be lifted: {problem}"
        if stuck:
            self._taken[tenant] = stuck
            raise LabError(told, where="the governor")

    async def lift_all(self, reason: str) -> None:
        """As `lift`, for everybody; everybody is tried."""
        problems: list[LabError] = []
        for tenant in self.held:
            try:
                await self.lift(tenant, reason)
            except LabError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def _note(self, action: str, reason: str, tenant: str) -> None:
        at_ns = self._clock_ns() - self._epoch_ns
        self._journal.append(
            Acted(actor=GOVERNOR, action=action, reason=reason, at_ns=at_ns, tenant=tenant)
        )
