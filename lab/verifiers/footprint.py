"""What one tenant takes, at rest and at work, stays within its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf

import numpy as np

from lab.history import History, Outcome
from lab.resources import Kind, Source
from lab.verdict import Status, Verdict
from lab.verifiers._reading import Claim, Span, span, tenants_of

MEGABYTE = 1e6
READINGS_LEAST = 3


def within(
    *,
    phase: str,
    of: str,
    cpu_share_max: float,
    memory_mb_max: float,
    io_mb_per_second_max: float = inf,
    answer_seconds_max: float = inf,
) -> Callable[[History], Verdict]:
    """In `phase` every tenant of the cohort `of` stays within its budget, its own process measured.

    cpu_share_max: of one core, on average; memory_mb_max: at any reading; answer_seconds_max: for
    95 % of its answers, where it asks for any. Each source that is judged names its container, pid
    and start; a tenant that was read fewer than 3 times, or not at all, makes it UNKNOWN.
    """
    claim = Claim("footprint", f"each of {of} stays within its budget in {phase!r}", ("R1", "H3"))
    bounds = {
        "cpu_share": cpu_share_max,
        "memory_mb": memory_mb_max,
        "io_mb_per_second": io_mb_per_second_max,
        "answer_p95_seconds": answer_seconds_max,
    }

    def judge(history: History) -> Verdict:
        """Each tenant stays within its budget."""
        over = span(history, phase)
        members = sorted(t for t in _tenants(history) if t.rpartition("-")[0] == of)
        if over is None or not members:
            return claim.unknown(f"nobody of {of} was there in {phase!r}")
        answers = {
            tenant: [op.latency_ms / 1e3 for op in ops if op.outcome is Outcome.OK]
            for tenant, ops in tenants_of(history.during(phase, cohort=of)).items()
        }
        taken = {t: _taken(history, t, over, answers.get(t, [])) for t in members}
        unread = [tenant for tenant, figures in taken.items() if "cpu_share" not in figures]
        exposures = {
            "tenants": len(members) - len(unread),
            "readings": sum(int(f.get("readings", 0)) for f in taken.values()),
            "answers": sum(map(len, answers.values())),
        }
        worst = {
            name: max((f[name] for f in taken.values() if name in f), default=0.0)
            for name in ("descriptors", *bounds)
        }
        measured = {f"worst_{name}": value for name, value in worst.items()}
        beyond = [
            f"{tenant}: {name} {figures[name]:.3g}, at most {bound:g}"
            for tenant, figures in taken.items()
            for name, bound in bounds.items()
            if figures.get(name, 0.0) > bound
        ]
        said = (
            f"at most {worst['cpu_share']:.1%} of a core, {worst['memory_mb']:.0f} MB,"
            f" {worst['io_mb_per_second']:.2g} MB/s"
        )
        if beyond:
            return claim.is_(
                Status.VIOLATED, beyond[0], measured=measured, exposures=exposures, evidence=beyond
            )
        if unread:
            what = f"{len(unread)} tenants were not measured, as {unread[0]}"
            return claim.unknown(what, exposures=exposures)
        return claim.is_(Status.HELD, said, measured=measured, exposures=exposures)

    return judge


def _tenants(history: History) -> set[str]:
    """The names of all tenants, those at rest too."""
    own = {source.name for source in history.resources.of(Kind.AGENT)}
    return own | {op.tenant for op in history.ops}


def _taken(history: History, tenant: str, over: Span, answers: list[float]) -> Mapping[str, float]:
    """What a tenant took, by figure; its processes, if one followed another, together."""
    sources = [s for s in history.resources.of(Kind.AGENT) if s.name == tenant]
    figures: dict[str, float] = {}
    if answers:
        figures["answer_p95_seconds"] = float(np.quantile(answers, 0.95))
    seconds, used, moved = 0.0, 0.0, 0.0
    memory: list[float] = []
    for length, cpu_seconds, moved_bytes, levels in _processes(history, sources, over):
        seconds, used, moved = seconds + length, used + cpu_seconds, moved + moved_bytes
        memory += levels
    if len(memory) >= READINGS_LEAST and seconds > 0:
        figures["readings"] = len(memory)
        figures["cpu_share"], figures["memory_mb"] = used / seconds, max(memory) / MEGABYTE
        figures["io_mb_per_second"] = moved / seconds / MEGABYTE
        series = (history.resources.series(s, "descriptors") for s in sources)
        figures["descriptors"] = max((float(x.values.max()) for x in series if len(x)), default=0.0)
    return figures


def _processes(
    history: History, sources: list[Source], over: Span
) -> Iterator[tuple[float, float, float, list[float]]]:
    """Of each process: seconds seen, CPU seconds used, bytes moved, and its memory in bytes."""
    for source in sources:
        used, level, *io = (
            history.resources.series(source, metric).between(over.start_ns, over.end_ns)
            for metric in ("cpu_seconds", "memory_bytes", "io_read_bytes", "io_write_bytes")
        )
        if len(used) >= 2:
            moved = sum(float(each.values[-1] - each.values[0]) for each in io if len(each))
            seconds = float(used.at_ns[-1] - used.at_ns[0]) / 1e9
            yield seconds, float(used.values[-1] - used.values[0]), moved, level.values.tolist()
