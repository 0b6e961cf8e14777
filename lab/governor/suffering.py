"""Who suffers: cumulative sums over tenants' latencies and over the time that their group stalls.

CUSUM: Page, "Continuous inspection schemes", Biometrika 41 (1954). The Bernoulli form for a share
of slow operations: Reynolds and Stoumbos, Journal of Quality Technology 31 (1999). What is usual is
fixed before, so that a slow decline does not become the norm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log

import numpy as np

from lab.history import Op, Outcome

USUAL_SLOW_SHARE, BAD_SLOW_SHARE = 0.05, 0.15
SLOW_STEP = log(BAD_SLOW_SHARE / USUAL_SLOW_SHARE)
QUICK_STEP = log((1 - BAD_SLOW_SHARE) / (1 - USUAL_SLOW_SHARE))
"""What one slow and one quick operation add to the log-likelihood that the bad share is true."""

ALARM = 6.0
"""The sum at which others suffer: six slow ones in a row, or 1 in 4 of about sixty."""

SLOW_QUANTILE, SLACK = 0.95, 1.25
"""Slow is what takes longer than this many times the tenant's own usual quantile."""

OWN_MIN, LEARNT_MIN = 20, 100
"""Operations that make a tenant's own usual quantile, and that make one for all."""

MEMORY_SECONDS = 3.0
"""Operations that ended longer ago say nothing of now."""

UNFINISHED_TIMES, UNFINISHED_MORE, UNFINISHED_SECONDS = 4.0, 4.0, 0.5
"""What hangs is not heard of until it ends, but the system counts it. By Little's law (Operations
Research 9, 1961) so many times the usual number of unfinished messages, and so many more, are not
what a somewhat greater load makes; each one beyond them is a slow operation. No tenant counts for
more than that, so that one alone, whatever it asks for, is never the others' suffering. A count is
good for so long."""

STALL_SLACK, STALL_ALARM, STALL_UNIT_SECONDS = 0.12, 0.45, 0.1
"""Pressure of a group under its usual load is 7 % on average and now and then 78 % for 50 ms, so
that only a sum can tell; measured on a noisy host of two cores."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for suffering: the sum, and of how many operations how many were slow."""

    score: float
    operations: int
    slow: int

    def __str__(self) -> str:
        return f"{self.slow} of the others' last {self.operations} operations were slow"


class Suffering:
    """Learns what is usual from calm operations, then adds up what is not."""

    def __init__(self) -> None:
        self._calm: dict[str, list[float]] = {}
        self._limits_ms: dict[str, float] = {}
        self._recent: deque[tuple[float, str, bool]] = deque()
        self._since_ns = 0
        self._waiting: tuple[float, Mapping[str, float]] = (0.0, {})
        self._waited: dict[str, list[float]] = {}
        self._usual_waiting: dict[str, float] = {}
        self._hung: dict[str, float] = {}  # when it was last acted upon

    def learn(self, ops: Iterable[Op]) -> None:
        """Operations of a calm time."""
        for op in ops:
            if op.outcome is Outcome.OK:
                self._calm.setdefault(op.tenant, []).append(op.latency_ms)

    @property
    def learnt(self) -> bool:
        """Whether there was enough of it."""
        return sum(map(len, self._calm.values())) >= LEARNT_MIN

    def fix(self) -> None:
        """From now on, what was learnt is what is usual; later tenants are held to the common."""
        common = np.concatenate([np.array(each) for each in self._calm.values()])
        known = {t: np.array(each) for t, each in self._calm.items() if len(each) >= OWN_MIN}
        limits = {t: float(np.quantile(each, SLOW_QUANTILE)) for t, each in known.items()}
        limits[""] = float(np.quantile(common, SLOW_QUANTILE))
        self._limits_ms = {tenant: limit * SLACK for tenant, limit in limits.items()}
        self._usual_waiting = {t: float(np.mean(each)) for t, each in self._waited.items()}

    def see(self, ops: Iterable[Op]) -> None:
        """Operations that ended. A refusal says nothing: it is a tenant's own limit at work."""
        for op in ops:
            if op.outcome is not Outcome.FAIL and op.due_ns >= self._since_ns:
                limit_ms = self._limits_ms.get(op.tenant, self._limits_ms[""])
                self._recent.append((op.done_ns / 1e9, op.tenant, op.latency_ms > limit_ms))

    def wait(self, at_seconds: float, unfinished: Mapping[str, float]) -> None:
        """Messages of each tenant that the system has not finished, by its own count."""
        self._waiting = (at_seconds, unfinished)
        self._hung = {t: min(n, unfinished.get(t, 0.0)) for t, n in self._hung.items()}
        if not self._limits_ms:
            for tenant, number in unfinished.items():
                self._waited.setdefault(tenant, []).append(number)

    def forget(self, now_seconds: float) -> None:
        """What was so far is explained, or acted upon; only what is due from now on counts."""
        self._since_ns = int(now_seconds * 1e9)
        self._recent.clear()
        self._hung = dict(self._waiting[1])

    def evidence(self, now_seconds: float, *, without: str = "") -> Evidence:
        """That everybody suffers, but for the tenant `without`: who does it feels it as well."""
        while self._recent and self._recent[0][0] < now_seconds - MEMORY_SECONDS:
            self._recent.popleft()
        marks = [slow for _, tenant, slow in self._recent if tenant != without]
        marks += [True] * self._overdue(now_seconds, without)
        return Evidence(cusum(marks), len(marks), sum(marks))

    def _overdue(self, now_seconds: float, without: str) -> int:
        """How many unfinished messages of the others are more than could be usual."""
        at_seconds, unfinished = self._waiting
        if now_seconds - at_seconds > UNFINISHED_SECONDS or not self._usual_waiting:
            return 0
        others = {t: n - self._hung.get(t, 0.0) for t, n in unfinished.items() if t != without}
        room = {t: UNFINISHED_TIMES * self._usual_waiting.get(t, 0.0) for t in others}
        more = sum(min(n, room[t] + UNFINISHED_MORE) for t, n in others.items())
        return max(0, int(more - sum(room.values()) - UNFINISHED_MORE))


def cusum(marks: Iterable[bool]) -> float:
    """The cumulative sum after these operations, slow (True) or not, in the order they ended."""
    total = 0.0
    for slow in marks:
        total = max(0.0, total + (SLOW_STEP if slow else QUICK_STEP))
    return total


class Stall:
    """The same for pressure: the share of time in which something of a group waited for CPU."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}
        self._sums: dict[str, float] = {}
        self._usual: dict[str, float] = {}
        self._calm: dict[str, list[float]] = {}

    def see(self, group: str, at_seconds: float, stalled_seconds: float) -> None:
        """A reading of a counter that only grows."""
        last, self._last[group] = self._last.get(group), (at_seconds, stalled_seconds)
        if last is None or at_seconds <= last[0]:
            return
        length = at_seconds - last[0]
        share = (stalled_seconds - last[1]) / length
        if group not in self._usual:
            self._calm.setdefault(group, []).append(share)
            return
        step = (share - self._usual[group] - STALL_SLACK) * length / STALL_UNIT_SECONDS
        self._sums[group] = max(0.0, self._sums.get(group, 0.0) + step)

    def fix(self) -> None:
        """From now on, the median of what was seen so far is what is usual."""
        self._usual = {group: float(np.median(each)) for group, each in self._calm.items()}

    def forget(self) -> None:
        """As `Suffering.forget`."""
        self._sums.clear()

    @property
    def alarmed(self) -> Mapping[str, float]:
        """The groups whose sum has passed the alarm."""
        return {group: total for group, total in self._sums.items() if total > STALL_ALARM}
