"""Nothing is kept: memory does not grow with every request, and a rest has what the last one had.

Memory is judged by statistics (see `lab/stats/leaks.py`), everything that can be counted exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from math import nan
from statistics import median

import numpy as np

from lab.history import History, Outcome
from lab.resources import Kind, Source
from lab.stats.leaks import JUDGED, Growth, Integers, growth
from lab.verdict import Status, Verdict
from lab.verifiers._reading import Claim, Span, sampled, span

GROWTH = Claim("leaks", "nothing grows with every request", ("R3", "N2"))
KEPT = Claim("leaks", "a rest leaves nothing that the rest before it did not have", ("N2", "R3"))
BUSY = Claim("leaks", "who is asked for nothing computes nothing", ("R3",))

Things = Mapping[str, Counter[str]]
"""By kind: each thing's name, and how many there are of it."""

STANDING = frozenset({"descriptors", "processes"})
"""Kinds of thing that a system at rest has."""

FOUND_BYTES = 1024.0
"""A leak of so much a request, in a tenant's process or keys, has to be excluded for a HELD."""


def nothing_grows(*, phase: str, control: str = "") -> Callable[[History], Verdict]:
    """Nothing grows with every request of `phase`, and goes on to.

    Judged are every tenant's own process and its keys, by that tenant's requests, and every
    service's memory, by all requests. control: a cohort that is known not to leak: what its
    processes grow by is how this system warms up. Needs a monitor; 9 readings and 100 requests of
    each source that is judged; and a tenant's source for which a kilobyte a request is excluded.
    """

    def judge(history: History) -> Verdict:
        """Nothing grows."""
        over = span(history, phase)
        if over is None:
            return GROWTH.unknown(f"the run never got through {phase!r}")
        seen = dict(_grown(history, over))
        grown = {source: each for source, each in seen.items() if each.enough}
        members = {op.tenant for op in history.ops if op.cohort == control}
        usual = _usual(members, grown)
        exposures = {"sources": len(grown), "sources_seen_too_little": len(seen) - len(grown)}
        exposures["requests"] = len(_done(history, over, None))
        measured = {f"{kind}_bytes_per_request": _worst(grown, kind) for kind in JUDGED}
        measured["control_bytes_per_request"] = usual
        leaking = {s: g for s, g in grown.items() if g.leaks(*_bounds(s, members, usual))}
        unclear = {s: g for s, g in grown.items() if not g.settling and g.slope.upper > FOUND_BYTES}
        own = [source for source in grown if source.kind is not Kind.CONTAINER]
        lines = [_line(source, each) for source, each in (leaking or unclear).items()]
        if leaking:
            status, reason = Status.VIOLATED, f"{len(leaking)} of {len(grown)} grow: {lines[0]}"
        elif not own:
            status, reason = Status.UNKNOWN, "nothing of a tenant's was measured often enough"
        elif any(source in unclear for source in own):
            status, reason = Status.UNKNOWN, f"{FOUND_BYTES:g} bytes cannot be excluded: {lines[0]}"
        else:
            noisy = ", ".join(source.name for source in unclear)
            blind = f"; of {noisy} nothing can be said: too restless" if noisy else ""
            status, reason = Status.HELD, f"{len(grown) - len(unclear)} sources do not grow{blind}"
        return GROWTH.is_(status, reason, measured=measured, exposures=exposures, evidence=lines)

    return judge


def nothing_is_kept(*, before: str, after: str) -> Callable[[History], Verdict]:
    """What the monitor saw held in the rest `after` is what it saw in the rest `before`, by name.

    Of `Sampled(probe="held")`, what the last two looks in each of the two phases agree on, kind by
    kind, both after the last answer: what is kept stays, and what one look alone sees was on its
    way. Descriptors and processes have to be those of the rest before; everything else is lent for
    a request (as connections and shares are) or should have an end (as keys), so that a rest has
    none but those that the first look saw, before anybody of this run asked for anything. At least
    one request lies between.
    """

    def judge(history: History) -> Verdict:
        """Nothing is kept."""
        held = [_held(history, phase) for phase in (before, after)]
        first, last = held
        spans = [span(history, phase) for phase in (before, after)]
        if first is None or last is None or None in spans:
            missing = before if first is None else after
            return KEPT.unknown(f"there were no two looks at {missing!r}, at rest, by a monitor")
        since, until = spans[0], spans[1]
        assert since is not None
        assert until is not None
        between = Span(since.end_ns, until.start_ns)
        requests = len(_done(history, between, None))
        exposures = {f"{kind}_before": things.total() for kind, things in sorted(first.items())}
        exposures["requests"] = requests
        if not requests or not any(first.values()):
            return KEPT.unknown(
                "nothing was done, or nothing seen, in between", exposures=exposures
            )
        old, none = _old(history), Counter[str]()
        each = {
            kind: things - (first if kind in STANDING else old).get(kind, none)
            for kind, things in sorted(last.items())
        }
        added = {kind: found for kind, found in each.items() if found}
        if added:
            counts = ", ".join(f"{found.total()} {kind}" for kind, found in added.items())
            return KEPT.is_(
                Status.VIOLATED,
                f"still held after {requests} requests: {counts}",
                measured={kind: found.total() for kind, found in added.items()},
                exposures=exposures,
                evidence=_named(added),
            )
        reason = f"{', '.join(sorted(last))}: as before, after {requests} requests"
        return KEPT.is_(Status.HELD, reason, exposures=exposures)

    return judge


def nobody_runs_away(*, rest: str, share_max: float = 0.05) -> Callable[[History], Verdict]:
    """In the phase `rest`, when nobody is asked, no tenant's process uses `share_max` of a core.

    The requirement's own 80 % for long is a bound of the monitor's, which is told while the run
    goes on; a process that computes at rest does so for ever. Needs 2 readings of each process.
    """

    def judge(history: History) -> Verdict:
        """Nobody runs away."""
        over = span(history, rest)
        if over is None:
            return BUSY.unknown(f"the run never got through {rest!r}")
        shares: dict[Source, float] = {}
        for source in history.resources.of(Kind.AGENT):
            seen = history.resources.series(source, "cpu_seconds")
            seen = seen.between(over.start_ns, over.end_ns)
            if len(seen) >= 2:
                seconds = float(seen.at_ns[-1] - seen.at_ns[0]) / 1e9
                shares[source] = float(seen.values[-1] - seen.values[0]) / seconds
        exposures = {"processes": len(shares)}
        if not shares:
            return BUSY.unknown("no process was measured at rest", exposures=exposures)
        away = {source: share for source, share in shares.items() if share > share_max}
        lines = [f"agent {s.name} (pid {s.pid}) uses {share:.0%}" for s, share in away.items()]
        return BUSY.is_(
            Status.VIOLATED if away else Status.HELD,
            "; ".join(lines[:2]) or f"at most {max(shares.values()):.1%} of a core at rest",
            measured={"worst_share": max(shares.values())},
            exposures=exposures,
            evidence=lines,
        )

    return judge


def _grown(history: History, over: Span) -> Iterator[tuple[Source, Growth]]:
    """Everything that may not grow, with how it does."""
    everybody = _done(history, over, None)
    for kind, judged in JUDGED.items():
        for source in history.resources.of(kind):
            seen = history.resources.series(source, judged.metric).between(
                over.start_ns, over.end_ns
            )
            done = everybody if kind is Kind.CONTAINER else _done(history, over, source.name)
            if len(seen) and len(done):
                yield source, growth(seen.at_ns, seen.values, done)


def _old(history: History) -> Things:
    """What was held before the run's first request; an earlier run may have left it."""
    looks, first_ns = sampled(history, "held"), min(op.due_ns for op in history.ops)
    return _things(looks[0].items) if looks[0].at_ns < first_ns else {}


def _named(added: Things) -> Iterator[str]:
    """One of each kind first, so that no kind hides another."""
    lines = [
        [f"{kind}: {name}" + (f" ({n} times)" if n > 1 else "") for name, n in found.items()]
        for kind, found in added.items()
    ]
    for row in zip_longest(*lines):
        yield from filter(None, row)


def _done(history: History, over: Span, tenant: str | None) -> Integers:
    """When the requests of a tenant, or of all, were answered, in order."""
    times = (
        op.done_ns
        for op in history.ops
        if op.outcome is Outcome.OK
        and over.start_ns <= op.done_ns < over.end_ns
        and tenant in (None, op.tenant)
    )
    return np.array(sorted(times), np.int64)


def _usual(members: Collection[str], grown: Mapping[Source, Growth]) -> float:
    """What a process of the control cohort grows by per request; 0 where there is none."""
    slopes = [
        g.slope.slope
        for source, g in grown.items()
        if source.kind is Kind.AGENT and source.name in members and g.enough
    ]
    return max(0.0, median(slopes)) if slopes else 0.0


def _bounds(source: Source, control: Collection[str], usual: float) -> tuple[float, float]:
    """What a source may grow by, whatever happens, and what the control does, itself apart."""
    compared = source.kind is Kind.AGENT and source.name not in control
    return JUDGED[source.kind].above_bytes, usual if compared else 0.0


def _worst(grown: Mapping[Source, Growth], kind: Kind) -> float:
    return max((g.slope.slope for source, g in grown.items() if source.kind is kind), default=nan)


def _held(history: History, phase: str) -> Things | None:
    """What the last two looks in a phase agree on, of those after the last answer."""
    over = span(history, phase)
    if over is None:
        return None
    ends = (op.done_ns for op in history.ops if op.due_ns < over.end_ns)
    quiet_ns = max(over.start_ns, *ends, 0)
    looks = [e for e in sampled(history, "held") if quiet_ns <= e.at_ns <= over.end_ns]
    if len(looks) < 2:
        return None
    one, other = (_things(look.items) for look in looks[-2:])
    return {kind: one[kind] & other[kind] for kind in one.keys() & other.keys()}


def _things(items: Mapping[str, Sequence[str]]) -> Things:
    return {kind: Counter(names) for kind, names in items.items()}


def _line(source: Source, grown: Growth) -> str:
    slope = grown.slope
    return (
        f"{source.kind} {source.name} (pid {source.pid}): {slope.slope:.0f}"
        f" [{slope.lower:.0f}, {slope.upper:.0f}] bytes a request, {grown.requests} requests"
    )
