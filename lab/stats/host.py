"""What the host did during a phase, told by CPU accounting and stalls, never by latency.

Whether a gate is needed at all: the coins make on and off independent of strangers, so the level of
the sign test is exact whatever strangers do, and no balance is asked for. What strangers spoil is
meaning (behind their queueing a real effect looks small) and power. So a pair in which they took
more than `CROWDED_CORES` is set aside. Its whole second is read, both blocks alike: what the
aggressor itself takes away from strangers then cannot choose pairs by its coin. Behind a shield
strangers lose and do not count, only the shields of other runs do (`lab/engine/shield.py`).
A stall leaves its pair out, too. But one in an on-block may be the aggressor's own doing: before
anything is HELD such pairs count as infinitely slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lab.journal import Event, Opened, Sampled
from lab.stats.design import BLOCKS, Intervals, Mask, PairedBlocks
from lab.stats.series import Floats

CROWDED_CORES = 0.5
"""Strangers that take more than this in a pair's second crowd it."""

STOLEN_SHARE_MAX = 1 / 60
"""CPU time that the hypervisor may steal: a second in a minute."""

HOST, STALL = "host", "stall"  # the probes


def _none() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """One phase's host: stalls, and growing counters of CPU seconds read at `at_seconds`."""

    stalls: Intervals = ()
    at_seconds: Floats = field(default_factory=_none)
    strangers_seconds: Floats = field(default_factory=_none)
    steal_seconds: Floats = field(default_factory=_none)

    @property
    def watched(self) -> bool:
        """Whether anybody read the CPU counters at all."""
        return len(self.at_seconds) > 1

    def strangers_cores(self, starts: Floats, seconds: float) -> Floats:
        """Strangers' mean cores in each stretch of `seconds` from `starts`; 0 where unwatched."""
        return self._grown(self.strangers_seconds, starts, seconds) / seconds

    def stolen_seconds(self, until: float) -> float:
        """What the hypervisor took between the phase's start and `until`."""
        return float(self._grown(self.steal_seconds, np.zeros(1), until)[0])

    def stalled_seconds(self, until: float) -> float:
        """How long everything stood still between the phase's start and `until`."""
        return sum(max(0.0, min(end, until) - max(start, 0.0)) for start, end in self.stalls)

    def crowded(self, design: PairedBlocks, pairs: int) -> Mask:
        """The pairs that strangers crowded."""
        return self.strangers_cores(design.pair_starts(pairs), design.pair_seconds) > CROWDED_CORES

    def stalled(self, design: PairedBlocks, pairs: int) -> Mask:
        """The pairs that a stall touches."""
        return self._touched(design.pair_starts(pairs), design.pair_seconds)

    def stalled_on(self, design: PairedBlocks, seed: int, pairs: int, coins: str = BLOCKS) -> Mask:
        """The pairs whose on-block a stall touches."""
        late = np.where(design.on_first(seed, pairs, coins), 0.0, design.block_seconds)
        return self._touched(design.pair_starts(pairs) + late, design.block_seconds)

    def _touched(self, starts: Floats, seconds: float) -> Mask:
        touched = np.zeros(len(starts), dtype=np.bool_)
        for since, until in self.stalls:
            touched |= (starts < until) & (starts + seconds > since)
        return touched

    def _grown(self, counter: Floats, starts: Floats, seconds: float) -> Floats:
        if not self.watched:
            return np.zeros(len(starts))
        first = np.interp(starts, self.at_seconds, counter)
        return np.interp(starts + seconds, self.at_seconds, counter) - first


CALM = Host()
"""A host that did nothing, or that nobody watched."""


def counted(values: Mapping[str, float], *, shielded: bool) -> float:
    """CPU seconds so far of the strangers that matter, from a reading of the probe `host`."""
    strangers = values["busy_seconds"] - values["own_seconds"]
    return values["rival_seconds"] if shielded else strangers


def host_of(events: Iterable[Event], *, since_ns: int) -> Host:
    """The host since `since_ns`, as a run's journal tells it (probes `host` and `stall`)."""
    stalls: list[tuple[float, float]] = []
    rows: list[tuple[float, float, float]] = []
    shielded = False
    for event in events:
        if isinstance(event, Opened):
            shielded = event.shield
        if not isinstance(event, Sampled) or event.probe not in (HOST, STALL):
            continue
        at, values = (event.at_ns - since_ns) / 1e9, event.values
        if event.probe == STALL:
            stalls.append((at - values["stall_ms"] / 1e3, at))
        else:
            rows.append((at, counted(values, shielded=shielded), values["steal_seconds"]))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return Host(tuple(stalls), table[:, 0], table[:, 1], table[:, 2])
