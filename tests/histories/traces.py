"""Recorded and simulated phases without any attack, and attacks put into them by scaling.

The recorded ones are from `benchmarks/record.py`, on two cores that others kept busy: `noisy` as it
came, `quiet` with the server and the generator before everybody else, as on an idle machine.
A replay is a window of a trace from a random moment on, under coins of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lab.stats.design import PairedBlocks
from lab.stats.host import Host
from lab.stats.paired import Judgement, judge
from lab.stats.series import Floats
from tests.histories import Noise, arrivals

FOLDER = Path(__file__).parent / "traces"
RECORDED = ("noisy", "quiet")
UNIT_MS, READ_SECONDS = 0.01, 0.5
LOST = 2**32 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One phase as the judge gets it; `lag_ms` is how late each request was sent."""

    design: PairedBlocks
    seed: int
    due: Floats
    latency: Floats
    lag_ms: Floats
    host: Host

    def judged(self) -> Judgement:
        """The judge's answer."""
        pairs = self.design.looks[-1]
        return judge(
            self.design, self.seed, self.due, self.latency, pairs_available=pairs, host=self.host
        )

    @property
    def on(self) -> np.ndarray:
        """Whether the aggressor is on when each request is due."""
        return on_at(self.design, self.seed, self.due)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Minutes of calm: due times and latencies, and strangers' CPU seconds so far."""

    due: Floats
    latency: Floats
    strangers_seconds: Floats

    @property
    def seconds(self) -> float:
        """Its length."""
        return float(self.due[-1])


@lru_cache(maxsize=4)
def recorded(name: str) -> Trace:
    """A trace by its file's name."""
    with np.load(FOLDER / f"{name}.npz") as file:
        units = file["latency"].astype(np.float64)
        return Trace(
            np.cumsum(file["due_step"].astype(np.float64)) * UNIT_MS / 1e3,
            np.where(units == LOST, np.inf, units * UNIT_MS),
            np.cumsum(np.append(0.0, file["strangers_ms"] / 1e3)),
        )


def on_at(design: PairedBlocks, seed: int, due: Floats) -> np.ndarray:
    """Whether the aggressor is on when each request is due."""
    on = np.array([block.on for block in design.blocks(seed)])
    return on[np.minimum((due / design.block_seconds).astype(int), len(on) - 1)]


def replay(
    trace: Trace, seed: int, *, effect: float = 1.0, design: PairedBlocks, gated: bool = True
) -> Run:
    """A window of the trace, `effect` times slower while the aggressor is on.

    gated: with the host's counters, as a run without a shield has them.
    """
    start = np.random.default_rng(seed).uniform(0, trace.seconds - design.seconds)
    inside = (trace.due >= start) & (trace.due < start + design.seconds)
    due, latency = trace.due[inside] - start, trace.latency[inside]
    at = np.arange(len(trace.strangers_seconds), dtype=np.float64) * READ_SECONDS - start
    host = Host((), at, trace.strangers_seconds, np.zeros(len(at))) if gated else Host()
    slowed = np.where(on_at(design, seed, due), effect, 1.0) * latency
    return Run(design, seed, due, slowed, np.zeros(len(due)), host)


def simulated(
    noise: Noise, seed: int, *, effect: float = 1.0, design: PairedBlocks, per_second: float = 250
) -> Run:
    """A phase on a made-up host."""
    rng = np.random.default_rng(seed)
    due = arrivals(rng, design.seconds, per_second)
    latency = np.where(on_at(design, seed, due), effect, 1.0) * noise(rng, due)
    return Run(design, seed, due, latency, np.zeros(len(due)), Host())
