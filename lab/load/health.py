"""One health of what all workers report."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil

import msgspec

from lab.load.outcome import CENSORED, DROPPED, NOT_CONNECTED
from lab.load.wire import Health, PhaseReport, Report


def merged(reports: Sequence[Report]) -> Health:
    """One health of all workers' reports, exactly as if one worker had sent everything.

    Quantiles cannot be averaged, so they are taken over every worker's single latenesses. Counts
    and CPU add up; a standstill of any worker is one of the generator.
    """
    everything = [own for report in reports for own in report.phases.values()]
    names = dict.fromkeys(name for report in reports for name in report.phases)
    by_phase = {name: [r.phases[name] for r in reports if name in r.phases] for name in names}
    return msgspec.structs.replace(
        _health(everything),
        stall_max_ms=max(report.stall_ns for report in reports) / 1e6,
        cpu_seconds=sum(report.cpu_seconds for report in reports),
        seconds=max(report.seconds for report in reports),
        workers=len(reports),
        transport=reports[0].transport,
        phases={name: _health(own) for name, own in by_phase.items()},
        stalls=tuple(sorted(stall for report in reports for stall in report.stalls)),
    )


def _health(reports: Iterable[PhaseReport]) -> Health:
    errors: Counter[str] = Counter()
    late_ns = array("q")
    stall_ns, cpu_seconds, seconds = 0, 0.0, 0.0
    for report in reports:
        errors.update(report.errors)
        late_ns.frombytes(report.late_ns)
        stall_ns, seconds = max(stall_ns, report.stall_ns), max(seconds, report.seconds)
        cpu_seconds += report.cpu_seconds
    rising = sorted(late_ns)
    return Health(
        due=errors.total(),
        sent=len(rising),
        dropped=errors[DROPPED],
        censored=errors[CENSORED],
        not_connected=errors[NOT_CONNECTED],
        lateness_p50_ms=nearest_rank(rising, 0.5) / 1e6,
        lateness_p99_ms=nearest_rank(rising, 0.99) / 1e6,
        lateness_max_ms=nearest_rank(rising, 1.0) / 1e6,
        stall_max_ms=stall_ns / 1e6,
        cpu_seconds=cpu_seconds,
        seconds=seconds,
    )


def nearest_rank(rising: Sequence[int], quantile: float) -> int:
    """An observed value, never an interpolated one; 0 where nothing was observed."""
    return rising[max(0, ceil(quantile * len(rising)) - 1)] if rising else 0
