"""No byte of one tenant ever reaches another: canaries in all that is received, tolerance 0."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lab.canary import Found, run_key, scan
from lab.history import History, Op
from lab.journal import Sampled
from lab.verdict import Status, Verdict
from lab.verifiers._reading import EVIDENCE_MAX, Claim, sampled, shown, tenants_of

CLAIM = Claim("isolation", "no byte of one tenant ever reaches another", ("S2", "H6", "V8.4.1"))
_BETWEEN = "\n\x00\n"  # stands in no canary in any form, so none can arise from two texts
_LOGS = "logs"

READS = frozenset({"read", "list"})


@dataclass(slots=True)
class _Seen:
    """What the scan came to: counts, the tenants who saw themselves, and the leaks."""

    reads: int = 0
    characters: int = 0
    own: int = 0
    own_tenants: set[str] = field(default_factory=set[str])
    damaged_own: int = 0
    torn: list[str] = field(default_factory=list[str])
    leaks: list[str] = field(default_factory=list[str])
    leaks_total: int = 0
    readers: set[str] = field(default_factory=set[str])
    owners: set[str] = field(default_factory=set[str])


def no_foreign_canaries(*, reads_min: int = 100) -> Callable[[History], Verdict]:
    """Scan every byte any tenant received, whatever became of the operation, for others' canaries.

    The journal's `Sampled(probe="tenants")` says which id is whose. Other samples are scanned too:
    an item under a tenant's name is what that tenant sees; items of a probe `logs...` are nobody's
    business, so any canary there is a leak. A canary that is damaged or forged counts as a leak
    when it names another tenant, and makes HELD impossible when it names none.

    Text that no reply had (`overheard`) is scanned as well. Needs `reads_min` answered reads and
    listings, and two tenants who saw their own canaries in them: where nobody ever sees any, the
    scan could not have found a leak. An echo of what was just written proves nothing.
    """

    def judge(history: History) -> Verdict:
        """No byte of one tenant ever reaches another."""
        ids = {
            name: found[0] for e in sampled(history, "tenants") for name, found in e.items.items()
        }
        if not ids:
            return CLAIM.unknown("the journal does not tell the tenants' ids")
        key = run_key(history.opened.seed, history.opened.experiment)
        seen = _Seen()
        for tenant, ops in tenants_of((*history.ops, *history.overheard)).items():
            _scan_ops(seen, key, ids.get(tenant, ""), ops)
        _scan_samples(seen, key, ids, history.of(Sampled))
        return _verdict(seen, reads_min)

    return judge


def _scan_ops(seen: _Seen, key: bytes, own: str, ops: Sequence[Op]) -> None:
    """One reader's whole intake at once; a hit is led back to its operation by where it stands."""
    texts = [(op, op.received) for op in ops if op.received]
    starts: list[int] = []
    length = 0
    for _, text in texts:
        starts.append(length)
        length += len(text) + len(_BETWEEN)
    seen.reads += sum(op.action in READS for op, _ in texts)
    seen.characters += sum(len(text) for _, text in texts)
    for found in scan(key, _BETWEEN.join(text for _, text in texts)):
        op = texts[bisect_right(starts, found.at) - 1][0]
        _weigh(seen, found, own, lambda op=op: shown(op), reading=op.action in READS)


def _scan_samples(
    seen: _Seen, key: bytes, ids: Mapping[str, str], samples: Sequence[Sampled]
) -> None:
    for probe, item, text in _texts(samples):
        if item not in ids and not probe.startswith(_LOGS):
            continue  # a census names what there is; what stays behind is judged by `cleanup`
        seen.characters += len(text)
        for found in scan(key, text):
            own = ids.get(item, "") if not probe.startswith(_LOGS) else ""
            _weigh(seen, found, own, lambda probe=probe, item=item: f"{probe} of {item}")


def _texts(samples: Sequence[Sampled]) -> Iterator[tuple[str, str, str]]:
    for sample in samples:
        if sample.probe != "tenants":
            for item, texts in sample.items.items():
                yield sample.probe, item, _BETWEEN.join(texts)


def _weigh(
    seen: _Seen, found: Found, own: str, where: Callable[[], str], *, reading: bool = False
) -> None:
    """Count one canary: the reader's own, another's (a leak), or one that says nothing."""
    if found.tenant and found.tenant == own:
        seen.own += found.sound
        seen.damaged_own += not found.sound
        if reading:
            seen.own_tenants.add(own)
    elif found.tenant:
        seen.leaks_total += 1
        seen.readers.add(own)
        seen.owners.add(found.tenant)
        if len(seen.leaks) < EVIDENCE_MAX:
            seen.leaks.append(f"{_told(found)} reached {own or 'nobody of this run'}: {where()}")
    elif not seen.torn or len(seen.torn) < EVIDENCE_MAX:
        seen.torn.append(f"a torn canary: {where()}")


def _told(found: Found) -> str:
    state = "" if found.sound else "a damaged or forged canary, "
    serial = f" #{found.serial}" if found.sound else ""
    return f"{state}{found.object!r}{serial} of {found.tenant} (as {found.form})"


def _verdict(seen: _Seen, reads_min: int) -> Verdict:
    exposures = {
        "reads": seen.reads,
        "characters": seen.characters,
        "own_canaries": seen.own,
        "tenants_who_saw_their_own": len(seen.own_tenants),
    }
    measured = {"leaks": seen.leaks_total, "damaged_own": seen.damaged_own}
    if seen.leaks_total:
        return CLAIM.is_(
            Status.VIOLATED,
            f"{seen.leaks_total} canaries of {len(seen.owners)} tenants reached"
            f" {len(seen.readers)} others",
            measured=measured,
            exposures=exposures,
            evidence=seen.leaks,
        )
    reason = ""
    if seen.reads < reads_min:
        reason = f"{seen.reads} reads brought text, at least {reads_min} needed"
    elif len(seen.own_tenants) < 2:
        reason = f"{len(seen.own_tenants)} tenants saw a canary of their own, at least 2 needed"
    elif seen.torn:
        reason = "a canary was torn so that its owner cannot be told"
    if reason:
        return CLAIM.is_(
            Status.UNKNOWN, reason, measured=measured, exposures=exposures, evidence=seen.torn
        )
    told = f"0 foreign canaries in {seen.reads} reads; {seen.own} times tenants saw their own"
    return CLAIM.is_(Status.HELD, told, measured=measured, exposures=exposures)
