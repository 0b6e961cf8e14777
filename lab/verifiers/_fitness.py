"""Whether host and generator were fit to judge latency at all; if not, every answer is UNKNOWN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.history import Op
from lab.stats.host import CROWDED_CORES, STOLEN_SHARE_MAX, Host
from lab.stats.series import quantile_of, series

LATE_SHARE_MAX = 0.25
"""Of the p95 latency, what the generator's own p95 lateness may be: it is counted in."""

CROWDED_SHARE_MAX = 0.5
"""Of the seconds, those that strangers may crowd."""

STALLED_SECONDS_MAX = 1.0
"""All stalls together in an attack that is not judged in pairs, which leave them out."""


def late(ops: Sequence[Op]) -> str:
    """Why the generator's own lateness spoils these operations' latency; empty when it does not.

    Sending waits for nobody, so what is sent late was late in the generator, never in the system.
    """
    lateness = np.array([(op.sent_ns - op.due_ns) / 1e6 for op in ops if op.sent_ns])
    own = quantile_of(lateness, 0.95)
    whole = quantile_of(series(ops, since_ns=0)[1], 0.95)
    if not own > LATE_SHARE_MAX * whole:
        return ""
    return f"generator late: {own:.1f} ms of the p95 of {whole:.1f} ms are its own"


def stolen(host: Host, seconds: float) -> str:
    """Why a hypervisor spoils `seconds` since the phase's start; empty when it does not."""
    taken = host.stolen_seconds(seconds)
    return f"host too noisy: {taken:.1f} s stolen" if taken > STOLEN_SHARE_MAX * seconds else ""


def unfit(ops: Sequence[Op], host: Host, seconds: float) -> str:
    """Why nothing can be said about `seconds` of latency that are not judged in pairs."""
    cores = host.strangers_cores(np.arange(0.0, max(1.0, seconds - 1)), 1.0)
    crowded = float(np.mean(cores > CROWDED_CORES))
    if crowded > CROWDED_SHARE_MAX:
        return f"host too noisy: strangers took {np.mean(cores):.2f} cores"
    if (stalled := host.stalled_seconds(seconds)) > STALLED_SECONDS_MAX:
        return f"host too noisy: it stood still for {stalled:.1f} s"
    return stolen(host, seconds) or late(ops)
