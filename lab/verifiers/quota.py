"""Every quota is kept: who asks for more is refused, who does not never is, and the right one pays.

What a tenant asked for is told by its operations, what the system let it have by the system's own
meters (`lab.resources`, kind METER). No priority and no plea counts as enforcement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from lab.history import History, Op, Outcome
from lab.journal import Injected
from lab.resources import Kind
from lab.stats.series import quantile_of
from lab.verdict import Status, Verdict
from lab.verifiers._demand import Limit, over
from lab.verifiers._reading import Claim, Span, shown, span

CLAIM = Claim("quota", "every quota is kept, and keeps nobody from what is theirs", ("R2", "N3",
              "N4", "H9"))  # fmt: skip

SLACK = 1.25
"""What may be admitted beyond a rate, in shares of it: costs are estimates until they are paid."""

KNOCKS_BEFORE_NS = 1_000_000_000
"""A phase's faults are in place before its load begins."""

PAID_BY_ONE = frozenset({"cpu_ms", "database_ms", "disk_kb"})
"""Meters of work that the modest tenants never ask for."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How one limit was kept. seconds: from the first demand over the limit to the first refusal.

    The first demand over it is at the latest the one that was refused. Of sockets it is at most
    that: how long a crowd's knocks took until the last of them was answered (`Injected`).
    """

    limit: Limit
    asked: int
    refused: int
    seconds: float
    wrongs: tuple[str, ...]


def held_to_limits(
    limits: Sequence[Limit],
    *,
    within: str,
    modest: str,
    seconds_max: float = 60.0,
    asked_min: int = 10,
) -> Callable[[History], Verdict]:
    """Each cohort is refused what is over its limit, in time, and pays for it alone.

    In phase `within` nobody asks for more than is theirs, and the cohort `modest` never does:
    nothing of that is refused. What a refused write said is never read. seconds_max: requirement
    R2's; asked_min: operations of each cohort over its limit. UNKNOWN without the system's meters.
    """

    def judge(history: History) -> Verdict:
        """Every quota is kept, and keeps nobody from what is theirs."""
        kept = [each for limit in limits if (each := _kept(history, limit, within))]
        wrongs = [wrong for each in kept for wrong in each.wrongs]
        wrongs += _refused_modest(history, modest)
        wrongs += _wrongly_charged(history, limits, modest)
        wrongs += _side_effects(history)
        late = [
            each
            for each in kept
            if seconds_max < each.seconds < inf and each.limit.shape != "sockets"
        ]
        wrongs += [f"{e.limit.kind}: enforced only after {e.seconds:.1f} s" for e in late]
        exposures = {
            "kinds": len(kept),
            "operations_over": sum(each.asked for each in kept),
            "refused": sum(each.refused for each in kept),
            "operations_within": len(history.during(within)),
            "refused_writes_looked_for": len(_refused_writes(history)),
        }
        measured = {
            f"{each.limit.kind}_enforced_ms": each.seconds * 1000
            for each in kept
            if isfinite(each.seconds)
        }
        if wrongs:
            words = f"{len(wrongs)} wrongs, the first: {wrongs[0]}"
            return CLAIM.is_(
                Status.VIOLATED, words, measured=measured, exposures=exposures, evidence=wrongs
            )
        few = [each.limit.kind for each in kept if each.asked < asked_min]
        missing = [limit.kind for limit in limits if limit not in {each.limit for each in kept}]
        if few or missing or not history.resources.of(Kind.METER):
            lacking = ", ".join((*few, *missing)) or "the system's own meters"
            reason = f"too little was seen of {lacking}"
            return CLAIM.is_(Status.UNKNOWN, reason, measured=measured, exposures=exposures)
        timed = [(each.seconds, each.limit.kind) for each in kept if isfinite(each.seconds)]
        after = [f", the slowest, {kind}, after {s * 1000:.0f} ms" for s, kind in sorted(timed)]
        words = f"{len(kept)} kinds enforced{''.join(after[-1:])}; nothing within was refused"
        return CLAIM.is_(Status.HELD, words, measured=measured, exposures=exposures)

    return judge


def _kept(history: History, limit: Limit, within: str) -> Kept | None:
    """None when the run never got through the limit's phase."""
    stretch = span(history, limit.phase)
    if stretch is None:
        return None
    ops = _sent(history, limit.cohort)
    flags = dict(zip((op.id for op in ops), over(ops, limit), strict=True))
    hit = [op for op in ops if op.phase == limit.phase]
    no = [op for op in hit if _refused(op, limit)]
    first = next((op.sent_ns for op in hit if flags[op.id]), None)
    stop = min(no, key=lambda op: op.done_ns, default=None)
    began = min((ns for ns in (first, stop and stop.sent_ns) if ns is not None), default=0)
    seconds = (stop.done_ns - began) / 1e9 if stop else inf
    calm = [op for op in ops if op.phase == within and _refused(op, limit) and not flags[op.id]]
    wrongs = [f"{limit.kind}: refused within the quota: {shown(op)}" for op in calm]
    if limit.shape == "sockets":
        asked, most = _sockets(history, limit, stretch)
        if most > limit.amount:
            wrongs.append(f"{limit.kind}: {most:g} were open")
        no_room = max(0, asked + 1 - int(most))
        seconds = _knocking(history, limit, stretch) if no_room else inf
        return Kept(limit, asked, no_room, seconds, tuple(wrongs))
    if len(hit) and not no:
        wrongs.append(f"{limit.kind}: {len(hit)} operations over the limit, none refused")
    wrongs += _beyond(history, limit, hit, stretch)
    return Kept(limit, len(hit), len(no), seconds, tuple(wrongs))


def _beyond(history: History, limit: Limit, hit: Sequence[Op], stretch: Span) -> Iterator[str]:
    """What was let in although there was no room for it."""
    served = [op for op in hit if op.outcome is Outcome.OK]
    room = limit.saved + limit.amount * stretch.seconds * SLACK + limit.cost
    if limit.shape == "rate" and len(served) * limit.cost > room:
        yield (
            f"{limit.kind}: {len(served) * limit.cost:.4g} served in {stretch.seconds:.1f} s,"
            f" where {room:.4g} had room"
        )
    if limit.shape == "size" and served:
        yield f"{limit.kind}: {len(served)} operations of {limit.cost:g} served, over the limit"
    if limit.shape == "count" and limit.meter:
        most = _most(history, limit, stretch)
        if most > (limit.level or limit.amount):
            yield f"{limit.kind}: {limit.meter} stood at {most:g}"


def _sockets(history: History, limit: Limit, stretch: Span) -> tuple[int, float]:
    """How many sockets were asked for during the phase, and how many were open at once."""
    asked = sum(_growth(history, name, "knocks", stretch) for name in _tenants(history, limit))
    return int(asked), _most(history, limit, stretch)


def _knocking(history: History, limit: Limit, stretch: Span) -> float:
    """How long the quickest crowd of the limit's tenants took to be let in or not, in seconds.

    It may have come just before the phase began.
    """
    crowds = (
        (each.at_ns - each.asked_ns) / 1e9
        for each in history.of(Injected)
        if stretch.start_ns - KNOCKS_BEFORE_NS <= each.asked_ns <= stretch.end_ns
        and any(f"clients of {tenant}" in each.fault for tenant in _tenants(history, limit))
    )
    return min(crowds, default=inf)


def _refused_modest(history: History, modest: str) -> list[str]:
    no = [op for op in history.ops if op.cohort == modest and op.outcome is Outcome.FAIL]
    return [f"refused to {op.tenant}, who is modest: {shown(op)}" for op in no]


def _wrongly_charged(history: History, limits: Sequence[Limit], modest: str) -> list[str]:
    """Work that its tenant was not charged for, or that a modest one was."""
    found: list[str] = []
    for limit in limits:
        stretch = span(history, limit.phase)
        if stretch is None or limit.shape != "rate" or not limit.meter:
            continue
        ok = [op for op in history.during(limit.phase, cohort=limit.cohort) if op.error == ""]
        paid = sum(_growth(history, t, limit.meter, stretch) for t in _tenants(history, limit))
        due = sum(_due(op, limit) for op in ok)
        if paid < due:
            words = f"{paid:.4g} charged for {len(ok)} operations, at least {due:.4g} was due"
            found.append(f"{limit.kind}: {words}")
    for source in history.resources.of(Kind.METER):
        for meter in PAID_BY_ONE if source.name.startswith(f"{modest}-") else ():
            values = history.resources.series(source, meter).values
            if len(values) and values[-1] > 0:
                found.append(f"{source.name} was charged {values[-1]:.4g} of {meter} of others")
    return found


def _due(op: Op, limit: Limit) -> float:
    """What an operation costs at least: half of its estimate; of the network all that is known to
    have been sent and to have come back."""
    if limit.meter == "network_kb":
        return (len(op.sent) + len(op.received)) / 1000
    return limit.cost / 2


def _side_effects(history: History) -> list[str]:
    """Values of refused writes that somebody read all the same."""
    refused = {op.sent: op for op in _refused_writes(history)}
    return [
        f"a refused write was done: {shown(write)}"
        for value, write in refused.items()
        for op in history.ops
        if op.tenant == write.tenant and op.outcome is Outcome.OK and value in op.received
    ]


def _refused_writes(history: History) -> list[Op]:
    writes = (op for op in history.ops if op.action == "write" and op.sent)
    return [op for op in writes if op.outcome is Outcome.FAIL and op.sent_ns]


def _refused(op: Op, limit: Limit) -> bool:
    """A definite no; a tool that the kernel stops may have done something first."""
    return op.outcome is Outcome.FAIL or (limit.shape == "size" and op.outcome is Outcome.INFO)


def _sent(history: History, cohort: str) -> list[Op]:
    sent = (op for op in history.ops if op.cohort == cohort and op.sent_ns)
    return sorted(sent, key=lambda op: op.sent_ns)


def _tenants(history: History, limit: Limit) -> set[str]:
    return {op.tenant for op in history.ops if op.cohort == limit.cohort}


def _growth(history: History, tenant: str, meter: str, stretch: Span) -> float:
    """By how much a tenant's meter grew from before a stretch to after it."""
    for source in history.resources.of(Kind.METER):
        if source.name == tenant:
            values = history.resources.series(source, meter)
            before = values.values[values.at_ns < stretch.start_ns]
            until = values.values[values.at_ns <= stretch.end_ns + 1_500_000_000]
            if len(until):
                return float(until[-1] - (before[-1] if len(before) else 0.0))
    return 0.0


def _most(history: History, limit: Limit, stretch: Span) -> float:
    """The highest level of the limit's meter in the stretch."""
    names = _tenants(history, limit)
    levels = [
        history.resources.series(source, limit.meter).between(stretch.start_ns, stretch.end_ns)
        for source in history.resources.of(Kind.METER)
        if source.name in names
    ]
    return max((quantile_of(each.values, 1.0) for each in levels if len(each)), default=0.0)
