"""Disturbances of one kind laid over each other: when the quantile of all of them is back for good.

One alone is too short to tell. A p95 of 300 operations has a standard error of 8 % (1.4 / sqrt(n)),
and on a host with hiccups a quarter of all calm stretches of that length are over 1.10 by
themselves; twenty disturbances together tell the moment, and the limit says how well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.stats.series import Floats, quantile_of

STEP_SECONDS, REST_SECONDS = 0.05, 1.0
"""How finely the moment is told, and how much has to follow it at least."""
RESAMPLES, LIMIT = 2000, 0.95


@dataclass(frozen=True, slots=True)
class Stretch:
    """One disturbance: when its victims' operations were due, in seconds after its onset, and how
    many times the usual quantile their latencies were (infinite for what did not end well)."""

    seconds: Floats
    ratios: Floats

    def over(self, ratio: float, *, since: float, until: float, quantile: float = 0.95) -> bool:
        """Whether its own quantile between two moments is over `ratio`."""
        within = (self.seconds >= since) & (self.seconds < until)
        return quantile_of(self.ratios[within], quantile) > ratio


@dataclass(frozen=True, slots=True)
class Back:
    """From `seconds` after the onset on the quantile is within the ratio until the end, all
    disturbances pooled; infinite for never. limit: that with 95 % confidence."""

    seconds: float
    limit: float


def back(stretches: Sequence[Stretch], ratio: float, *, seed: int, quantile: float = 0.95) -> Back:
    """When it is back; the limit is of a bootstrap over whole disturbances (Efron 1979), since the
    operations of one are not independent. Raises ValueError without any."""
    if not stretches:
        raise ValueError("no disturbance, so nothing to be back from")
    end = min(float(each.seconds.max()) for each in stretches)
    starts = np.arange(0.0, max(end - REST_SECONDS, STEP_SECONDS), STEP_SECONDS)
    asked = np.array([_due_from(each.seconds, starts) for each in stretches])
    slow = np.array([_due_from(each.seconds[each.ratios > ratio], starts) for each in stretches])
    drawn = np.random.default_rng(seed).multinomial(
        len(stretches), np.full(len(stretches), 1 / len(stretches)), size=RESAMPLES
    )
    allowed = 1 - quantile

    def first(slow: Floats, asked: Floats) -> Floats:
        """In each row, the first start from which on few enough are slow."""
        fine = (slow <= allowed * asked + 1e-9) & (asked > 0)
        return np.where(fine.any(axis=1), starts[fine.argmax(axis=1)], np.inf)

    found = first(slow.sum(axis=0, keepdims=True), asked.sum(axis=0, keepdims=True))
    return Back(float(found[0]), quantile_of(first(drawn @ slow, drawn @ asked), LIMIT))


def _due_from(seconds: Floats, starts: Floats) -> Floats:
    """How many were due at each start or later."""
    return (len(seconds) - np.searchsorted(np.sort(seconds), starts)).astype(np.float64)
