"""The generator watches itself: how late it sent, how long its loop stood still, what CPU it used.

A late generator measures itself instead of the system; what it saw is then UNKNOWN, not a verdict.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil

from lab.history import Op
from lab.load.outcome import CENSORED, DROPPED, NOT_CONNECTED
from lab.load.wire import Health

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

    def health(self) -> Health:
        """The phase's figures."""
        return _health(
            self.errors,
            self.late_ns,
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

    def health(self) -> Health:
        """The whole run's figures, with every phase's own."""
        late_ns = array("q")
        errors: Counter[str] = Counter()
        for tally in self.tallies.values():
            late_ns.extend(tally.late_ns)
            errors.update(tally.errors)
        return _health(
            errors,
            late_ns,
            stall_ns=self._stall_ns,
            cpu_seconds=time.process_time(),
            seconds=time.monotonic() - self._began,
            phases={name: tally.health() for name, tally in self.tallies.items()},
            stalls=tuple(self._stalls),
        )


def _health(
    errors: Mapping[str, int],
    late_ns: Sequence[int],
    *,
    stall_ns: int,
    cpu_seconds: float,
    seconds: float,
    phases: dict[str, Health] | None = None,
    stalls: tuple[tuple[int, int], ...] = (),
) -> Health:
    rising = sorted(late_ns)
    return Health(
        due=sum(errors.values()),
        sent=len(rising),
        dropped=errors.get(DROPPED, 0),
        censored=errors.get(CENSORED, 0),
        not_connected=errors.get(NOT_CONNECTED, 0),
        lateness_p50_ms=_nearest_rank(rising, 0.5) / 1e6,
        lateness_p99_ms=_nearest_rank(rising, 0.99) / 1e6,
        lateness_max_ms=_nearest_rank(rising, 1.0) / 1e6,
        stall_max_ms=stall_ns / 1e6,
        cpu_seconds=cpu_seconds,
        seconds=seconds,
        phases=phases or {},
        stalls=stalls,
    )


def _nearest_rank(rising: Sequence[int], quantile: float) -> int:
    """An observed value, never an interpolated one; 0 where nothing was observed."""
    return rising[max(0, ceil(quantile * len(rising)) - 1)] if rising else 0
