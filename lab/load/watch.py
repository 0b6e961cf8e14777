"""The generator watches itself: how late it sent, how long its loop stood still, what CPU it used.

A late generator measures itself instead of the system; what it saw is then UNKNOWN, not a verdict.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter

from lab.history import Op
from lab.load.wire import PhaseReport, Report
from lab.transport import chosen

TICK_NS = 50_000_000
"""The ticker's period; what it comes late by, the whole loop stood still for."""
STALL_NS = 500_000_000
"""Standing still for this long is no load of ours: the machine itself was stopped. One of 9.1 s was
seen in 24 minutes on a shared host; what it touched is void, neither pass nor fail."""


class Tally:
    """What became of one phase's operations, and what the worker itself did while it lasted."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.late_ns = array("q")
        self.stall_ns = 0
        self.running = False
        self.cpu_seconds = self.seconds = 0.0

    def begin(self) -> None:
        """The phase's load begins now."""
        self.running = True
        self.cpu_seconds, self.seconds = -time.process_time(), -time.monotonic()

    def end(self) -> None:
        """The phase's load ends now, though answers may still come in."""
        if self.running:
            self.running = False
            self.cpu_seconds += time.process_time()
            self.seconds += time.monotonic()

    def count(self, op: Op) -> None:
        """Count an operation that ended."""
        self.errors[op.error] += 1
        if op.sent_ns:
            self.late_ns.append(op.sent_ns - op.due_ns)

    def report(self) -> PhaseReport:
        """The phase's figures."""
        return PhaseReport(
            errors=dict(self.errors),
            late_ns=self.late_ns.tobytes(),
            stall_ns=self.stall_ns,
            cpu_seconds=self.cpu_seconds,
            seconds=self.seconds,
        )


class Watch:
    """The tallies of all phases, and the ticker's findings from the first moment to the last."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self._began = time.monotonic()
        self._stall_ns = 0
        self._stalls: list[tuple[int, int]] = []

    def stalled(self, late_ns: int) -> None:
        """The ticker came late by this much."""
        if late_ns >= STALL_NS:
            self._stalls.append((time.monotonic_ns(), late_ns))
        for tally in self.tallies.values():
            if tally.running:
                tally.stall_ns = max(tally.stall_ns, late_ns)
        self._stall_ns = max(self._stall_ns, late_ns)

    def report(self) -> Report:
        """The whole run's figures, with every phase's own."""
        return Report(
            phases={name: tally.report() for name, tally in self.tallies.items()},
            stall_ns=self._stall_ns,
            cpu_seconds=time.process_time(),
            seconds=time.monotonic() - self._began,
            transport=chosen(),
            stalls=tuple(self._stalls),
        )
