"""The detector of noisy neighbours: others suffer, and one tenant is behind it. Pure.

Both are needed. Suffering without a culprit is a busy host or a slow tenant, and nobody's fault;
use without suffering is nobody's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.governor.blame import Blame, Resource, Use, blame
from lab.governor.suffering import ALARM, Evidence, Stall, Suffering
from lab.history import Op

SKIP_SECONDS, LEARN_SECONDS = 1.0, 3.0
"""The first operations warm caches up; what is usual is learnt from those after them."""

STALLED_ALARM = ALARM / 2
"""Half the evidence is enough where the kernel says as well that somebody waits."""

QUIET_SECONDS = 5.0
"""After a finding that nobody is to blame, the next such one is worth telling only later."""


class What(StrEnum):
    """What a finding says."""

    CULPRIT = "culprit"
    NOBODY = "nobody to blame"


@dataclass(frozen=True, slots=True)
class Finding:
    """Others suffer, since how much, and who uses what they lack; several resources may be it."""

    what: What
    evidence: Evidence
    blames: tuple[Blame, ...] = ()
    stalled: tuple[str, ...] = ()

    def __str__(self) -> str:
        waits = f"; {', '.join(self.stalled)} waits for CPU" if self.stalled else ""
        who = f"; {self.blames[0]}" if self.blames else f"; {self.what}"
        return f"{self.evidence}{waits}{who}"


class NoisyNeighborDetector:
    """Fed with operations, pressure and use as they come; `judge` says what they come to.

    What is usual is learnt from the first seconds after the first operation, and then fixed.
    """

    def __init__(self) -> None:
        self.suffering, self.stall = Suffering(), Stall()
        self._since: float | None = None
        self._now: Use = {}
        self._most: dict[str, dict[Resource, list[float]]] = {}
        self._usual: Use | None = None
        self._told: float | None = None

    @property
    def ready(self) -> bool:
        """Whether what is usual is known."""
        return self._usual is not None

    @property
    def usual(self) -> Use:
        """How much of what everybody used in the calm time; nothing before that is known."""
        return self._usual or {}

    @property
    def use(self) -> Use:
        """Who uses what right now."""
        return self._now

    def see(self, ops: Sequence[Op]) -> None:
        """Operations that just ended."""
        if self.ready:
            self.suffering.see(ops)
        elif ops:
            if self._since is None:
                self._since = ops[0].done_ns / 1e9
            skipped_ns = (self._since + SKIP_SECONDS) * 1e9
            self.suffering.learn(op for op in ops if op.due_ns >= skipped_ns)

    def uses(self, now_seconds: float, use: Use) -> None:
        """Who uses what, as last measured."""
        self._now = use
        if self.ready or self._since is None or now_seconds < self._since + SKIP_SECONDS:
            return
        for tenant, each in use.items():
            for resource, amount in each.items():
                self._most.setdefault(tenant, {}).setdefault(resource, []).append(amount)
        if now_seconds >= self._since + SKIP_SECONDS + LEARN_SECONDS and self.suffering.learnt:
            self.suffering.fix()
            self.stall.fix()
            self._usual = {
                tenant: {resource: sum(seen) / len(seen) for resource, seen in each.items()}
                for tenant, each in self._most.items()
            }

    def judge(self, now_seconds: float) -> Finding | None:
        """What is to be said now, or nothing. What led to a finding is forgotten with it."""
        if self._usual is None:
            return None
        blames, stalled = blame(self._usual, self._now), tuple(sorted(self.stall.alarmed))
        needed = STALLED_ALARM if stalled else ALARM
        for culprit in dict.fromkeys(each.tenant for each in blames):
            evidence = self.suffering.evidence(now_seconds, without=culprit)
            if evidence.score >= needed:
                self.forget(now_seconds)
                theirs = tuple(each for each in blames if each.tenant == culprit)
                return Finding(What.CULPRIT, evidence, theirs, stalled)
        evidence = self.suffering.evidence(now_seconds)
        silent = self._told is not None and now_seconds < self._told + QUIET_SECONDS
        if blames or evidence.score < 2 * ALARM or silent:
            return None
        self._told = now_seconds
        return Finding(What.NOBODY, evidence, (), stalled)

    def forget(self, now_seconds: float) -> None:
        """What was so far is explained, or acted upon: the next finding needs evidence anew."""
        self.suffering.forget(now_seconds)
        self.stall.forget()
