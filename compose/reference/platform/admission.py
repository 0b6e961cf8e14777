"""Who may come in: pure decisions from counters and a clock that is passed in.

Three gates per tenant, cheapest first: a rate (token bucket), a cap on unfinished messages, and
budgets of database time and tool CPU that are charged with what the work really cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .defects import planted
from .problems import Problem


@dataclass(slots=True)
class Bucket:
    """Tokens that refill at `per_second` up to `burst`; a level below zero is waited for."""

    per_second: float
    burst: float
    level: float
    at: float

    def refill(self, now: float) -> float:
        """The level at `now` (seconds of a monotonic clock)."""
        self.level = min(self.burst, self.level + (now - self.at) * self.per_second)
        self.at = now
        return self.level

    def wait_ms(self, need: float) -> int:
        """Milliseconds until the level reaches `need`."""
        return max(1, int(1000 * (need - self.level) / self.per_second) + 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """Per tenant; shares are milliseconds of work per second."""

    per_second: float
    burst: float
    in_flight: int
    budgets: dict[
        str, tuple[float, float]
    ]  # kind -> (milliseconds per second, burst in milliseconds)


@dataclass(slots=True)
class Tally:
    """One tenant's counters."""

    rate: Bucket
    budgets: dict[str, Bucket]
    in_flight: int = 0
    running: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    accepted: int = 0


class Admission:
    """Decides for all tenants; remembers a tenant until it is retired."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.tallies: dict[str, Tally] = {}

    def tally(self, tenant: str, now: float) -> Tally:
        """The tenant's counters, made on first sight."""
        found = self.tallies.get(tenant)
        if found is None:
            limits = self._limits
            found = self.tallies[tenant] = Tally(
                Bucket(limits.per_second, limits.burst, limits.burst, now),
                {
                    kind: Bucket(per, burst, burst, now)
                    for kind, (per, burst) in limits.budgets.items()
                },
            )
        return found

    def forget(self, tenant: str) -> None:
        """Drop the counters of a tenant that was retired."""
        self.tallies.pop(tenant, None)

    def arrive(self, tally: Tally, now: float) -> Problem | None:
        """Let a message in (count it) or say why not. Runs before the message is decoded."""
        if planted("shared_pool"):
            tally.in_flight += 1
            return None
        if tally.rate.refill(now) < 1.0:
            return self._no(tally, Problem("rate_limited", retry_after_ms=tally.rate.wait_ms(1.0)))
        if tally.in_flight >= self._limits.in_flight:
            return self._no(tally, Problem("too_many_in_flight", retry_after_ms=50))
        tally.rate.level -= 1.0
        tally.in_flight += 1
        tally.accepted += 1
        return None

    def leave(self, tally: Tally) -> None:
        """A message that was let in is finished."""
        tally.in_flight -= 1

    def afford(self, tally: Tally, kind: str, estimate_ms: float, now: float) -> Problem | None:
        """Why work of a kind may not begin now, or None; reserves nothing."""
        if planted("shared_pool"):
            return None
        bucket = tally.budgets[kind]
        if bucket.refill(now) <= 0.0:
            return self._no(tally, Problem("over_budget", retry_after_ms=bucket.wait_ms(0.0)))
        if tally.running.get(kind, 0):
            return self._no(tally, Problem("over_budget", retry_after_ms=max(1, int(estimate_ms))))
        return None

    def begin(self, tally: Tally, kind: str, estimate_ms: float, now: float) -> None:
        """Reserve budget for work, one piece of a kind at a time. Raises Problem `over_budget`."""
        if problem := self.afford(tally, kind, estimate_ms, now):
            raise problem
        tally.running[kind] = 1
        tally.budgets[kind].level -= estimate_ms

    def settle(self, tally: Tally, kind: str, estimate_ms: float, cost_ms: float) -> None:
        """Replace the estimate by the measured cost."""
        if planted("shared_pool"):
            return
        tally.running[kind] = 0
        tally.budgets[kind].level += estimate_ms - cost_ms

    def _no(self, tally: Tally, problem: Problem) -> Problem:
        tally.refused[problem.code] = tally.refused.get(problem.code, 0) + 1
        return problem
