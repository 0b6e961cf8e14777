"""Histories made up for tests: a run told in a few lines, with the answer known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from lab.canary import mint, run_key
from lab.history import History, Op, Outcome, history
from lab.journal import Entered, Event, Left, Opened, Sampled

Floats = NDArray[np.float64]

SEED = 7
KEY = run_key(SEED, "made_up")
SECOND = 1_000_000_000


def opened(*, seed: int = SEED) -> Opened:
    """The first line of a made-up run."""
    return Opened(
        run="made-up",
        experiment="made_up",
        seed=seed,
        epoch_ns=0,
        wall="2026-01-01T00:00:00Z",
        profile="quick",
        mode="",
        system="none",
        tenants=0,
    )


def ns(seconds: float) -> int:
    """Seconds as nanoseconds."""
    return round(seconds * SECOND)


def phase(name: str, start: float, end: float) -> tuple[Event, ...]:
    """A phase from `start` to `end` seconds."""
    return (Entered(phase=name, at_ns=ns(start)), Left(phase=name, at_ns=ns(end)))


def tenants(*names: str) -> Sampled:
    """Which tenant has which id: `t3-<name>`."""
    return Sampled(probe="tenants", at_ns=0, items={name: (f"t3-{name}",) for name in names})


def canary(tenant: str, key: str = "note-1", serial: int = 1) -> str:
    """A sound canary of a tenant called by its logical name."""
    return mint(KEY, f"t3-{tenant}", key, serial)


_serials = count()


def op(
    tenant: str = "quiet-0",
    *,
    due: float = 0.0,
    ms: float = 5.0,
    phase: str = "calm",
    outcome: Outcome = Outcome.OK,
    error: str = "",
    received: str = "",
    action: str = "read",
) -> Op:
    """One operation of a tenant; its cohort is the name's first part."""
    sent_ns = 0 if error in {"dropped", "not connected"} else ns(due)
    return Op(
        id=f"op-{next(_serials)}",
        tenant=tenant,
        cohort=tenant.rsplit("-", 1)[0],
        session=0,
        action=action,
        phase=phase,
        due_ns=ns(due),
        sent_ns=sent_ns,
        done_ns=ns(due + ms / 1000),
        outcome=outcome,
        error=error,
        received=received,
    )


def timed_out(tenant: str = "quiet-0", *, due: float, phase: str = "calm") -> Op:
    """An operation of which nobody knows whether it happened."""
    return op(tenant, due=due, ms=5000, phase=phase, outcome=Outcome.INFO, error="timeout")


def told(ops: Iterable[Op], *events: Event, seed: int = SEED) -> History:
    """The history of these operations and events."""
    return history(ops, (opened(seed=seed), *events))


def arrivals(rng: np.random.Generator, seconds: float, per_second: float) -> Floats:
    """Poisson arrivals in order."""
    return np.sort(rng.uniform(0, seconds, rng.poisson(seconds * per_second)))


def stream_of(
    due: Floats,
    latency_ms: Floats,
    *,
    start: float,
    name: str,
    who: Sequence[str] = ("quiet-0", "quiet-1", "quiet-2"),
) -> list[Op]:
    """Operations of several tenants in turn; an infinite latency is a time-out."""
    return [
        op(who[n % len(who)], due=start + at, ms=ms, phase=name)
        if np.isfinite(ms)
        else timed_out(who[n % len(who)], due=start + at, phase=name)
        for n, (at, ms) in enumerate(zip(due, latency_ms, strict=True))
    ]


Noise = Callable[[np.random.Generator, Floats], Floats]


def quiet_noise(rng: np.random.Generator, due: Floats) -> Floats:
    """Latencies of a host that is nearly idle: log-normal, p95 about 10 ms."""
    return rng.lognormal(1.5, 0.5, len(due))


def bursty_noise(rng: np.random.Generator, due: Floats) -> Floats:
    """A shared host: a level that drifts as AR(1), strangers' bursts, now and then a stall."""
    steps = int(due[-1] / 0.05) + 2
    level = np.zeros(steps)
    shocks = rng.normal(0, 0.12, steps)
    for n in range(1, steps):
        level[n] = 0.97 * level[n - 1] + shocks[n]
    end = float(due[-1])
    for start in rng.uniform(0, end, int(rng.poisson(end / 6))).tolist():
        level[int(start / 0.05) : int((start + rng.exponential(0.8)) / 0.05)] += 1.2
    latency = rng.lognormal(1.5, 0.5, len(due)) * np.exp(level[(due / 0.05).astype(int)])
    for start in rng.uniform(0, end, int(rng.poisson(end / 60))).tolist():
        stalled = (due >= start) & (due < start + 1.0)
        latency[stalled] += (start + 1.0 - due[stalled]) * 1000
    return latency


def drifting_noise(rng: np.random.Generator, due: Floats) -> Floats:
    """A host that gets steadily slower or faster, by up to a half, with a daily wave on top."""
    slope, wave = rng.uniform(-0.5, 0.5), rng.uniform(0, 0.3)
    level = 1 + slope * due / due[-1] + wave * np.sin(due / 7)
    return rng.lognormal(1.5, 0.5, len(due)) * level


def heavy_noise(rng: np.random.Generator, due: Floats) -> Floats:
    """Tails without a variance (Pareto with exponent 1.5), as retries and pauses make them."""
    return 3.0 * (1 + rng.pareto(1.5, len(due)))
