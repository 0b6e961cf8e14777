"""The governor's verdict: right in time and only the culprit; every way to be wrong is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from lab.history import History, Op
from lab.journal import GOVERNOR, Acted, Event, Sampled
from lab.verdict import Status
from lab.verifiers._attacks import figures, mitigated
from lab.verifiers.governor import culprit_is_stopped
from tests.histories import arrivals, ns, op, phase, stream_of, told

JUDGE = culprit_is_stopped(
    culprits="noisy", of="quiet", attacks=(("calm", "defended", "recovery"),),
    undefended=("calm", "undefended"), found_seconds_max=2.0, mitigated_seconds_max=3.0,
)  # fmt: skip
PHASES = (
    *phase("calm", 0, 5),
    *phase("undefended", 5, 9),
    *phase("defended", 10, 16),
    *phase("recovery", 16, 21),
)


def found(seconds: float, tenant: str = "noisy-0") -> Sampled:
    """A finding, so long after the attack began."""
    items = {"culprit": (tenant,), "resource": ("cpu",)}
    return Sampled(probe=GOVERNOR, at_ns=ns(10 + seconds), items=items)


def acted(seconds: float, tenant: str = "noisy-0", action: str = "cap cpu") -> Acted:
    """An act."""
    at_ns = ns(10 + seconds)
    return Acted(actor=GOVERNOR, action=action, reason="r", at_ns=at_ns, tenant=tenant)


def victims(
    *,
    hurt_seconds: float,
    undefended: float = 5.0,
    after: float = 1.0,
    hiccup: float = 1.0,
    left: float = 1.0,
) -> list[Op]:
    """Quiet tenants whose latencies are so many times the usual where they are hurt.

    hiccup: of 0.2 s in the calm before; left: in the first 0.8 s of either calm.
    """
    rng = np.random.default_rng(5)
    ops: list[Op] = []
    for name, start, seconds in (
        ("calm", 0, 5), ("undefended", 5, 4), ("defended", 10, 6), ("recovery", 16, 5),
    ):  # fmt: skip
        due = arrivals(rng, seconds, 150)
        factor = {"undefended": undefended, "recovery": after}.get(name, 1.0)
        hurt = np.where((name == "defended") & (due < hurt_seconds), 5.0, factor)
        hurt = np.where((name == "calm") & (due > 2.0) & (due < 2.2), hiccup, hurt)
        hurt = np.where((name in {"calm", "recovery"}) & (due < 0.8), left, hurt)
        noise = rng.lognormal(3.0, 0.1, len(due)) * (0.95 if name == "defended" else 1.0)
        ops += stream_of(due, noise * hurt, start=start, name=name)
    return ops


def run(ops: Iterable[Op], *events: Event) -> History:
    attack = [op("noisy-0", due=10 + n / 10, phase="defended") for n in range(60)]
    return told([*ops, *attack], *PHASES, *events)


def test_a_culprit_found_and_stopped_in_time_holds() -> None:
    verdict = JUDGE(run(victims(hurt_seconds=0.8), found(0.5), acted(0.6)))
    assert verdict.status is Status.HELD, verdict.reason
    assert verdict.measured["found_seconds_max"] == pytest.approx(0.5)
    assert 0.3 <= verdict.measured["mitigated_seconds_max"] <= 0.9
    assert verdict.exposures["attacks_harmful"] == 1


def test_what_an_attack_left_behind_is_neither_usual_nor_a_noisy_host() -> None:
    verdicts = [
        JUDGE(run(victims(hurt_seconds=0.8, undefended=20.0, left=left), found(0.5), acted(0.6)))
        for left in (1.0, 9.0)
    ]
    assert [each.status for each in verdicts] == [Status.HELD, Status.HELD]
    eased = [each.measured["mitigated_seconds_max"] for each in verdicts]
    assert eased[0] == eased[1]


Wrong = Callable[[], History]
WRONG: dict[str, Wrong] = {
    "it blames the victim": lambda: run(
        victims(hurt_seconds=0.8), found(0.5, "quiet-1"), acted(0.6, "quiet-1")
    ),
    "it throttles an innocent beside the culprit": lambda: run(
        victims(hurt_seconds=0.8), found(0.5), acted(0.6), acted(0.7, "quiet-2")
    ),
    "it throttles an innocent in calm times": lambda: run(
        victims(hurt_seconds=0.8), found(0.5), acted(0.6), acted(-8.0, "quiet-2")
    ),
    "it names an innocent and does nothing": lambda: run(
        victims(hurt_seconds=0.8), found(0.5), acted(0.6), found(1.0, "quiet-0")
    ),
    "it finds nothing": lambda: run(victims(hurt_seconds=6.0)),
    "it finds out too late": lambda: run(victims(hurt_seconds=3.0), found(2.5), acted(2.6)),
    "what it does does not help": lambda: run(victims(hurt_seconds=6.0), found(0.5), acted(0.6)),
}


@pytest.mark.parametrize("how", WRONG)
def test_every_wrong_governor_is_seen(how: str) -> None:
    verdict = JUDGE(WRONG[how]())
    assert verdict.status is Status.VIOLATED, verdict.reason
    assert verdict.evidence


def test_lifting_and_failing_to_act_touch_nobody() -> None:
    harmless = (acted(1.0, "quiet-1", "lifted: cap"), acted(1.0, "quiet-1", "could not cap"))
    verdict = JUDGE(run(victims(hurt_seconds=0.8), found(0.5), acted(0.6), *harmless))
    assert verdict.status is Status.HELD


def test_what_was_not_watched_for_long_enough_is_not_known_to_be_late() -> None:
    patient = culprit_is_stopped(
        culprits="noisy", of="quiet", attacks=(("calm", "defended", "recovery"),)
    )
    verdict = patient(run(victims(hurt_seconds=6.0), found(0.5), acted(0.6)))
    assert verdict.status is Status.UNKNOWN, verdict.reason


UNKNOWN: dict[str, Wrong] = {
    "the attack hurt nobody": lambda: run(victims(hurt_seconds=0.0)),
    "undefended it hurt nobody": lambda: run(
        victims(hurt_seconds=0.8, undefended=1.0), found(0.5), acted(0.6)
    ),
    "the host was noisy afterwards, too": lambda: run(
        victims(hurt_seconds=6.0, after=2.0), found(0.5), acted(0.6)
    ),
    "the host had a hiccup of its own before": lambda: run(
        victims(hurt_seconds=6.0, hiccup=3.0), found(0.5), acted(0.6)
    ),
    "the run never got there": lambda: told([], *phase("calm", 0, 5)),
}


@pytest.mark.parametrize("why", UNKNOWN)
def test_too_little_evidence_is_no_verdict(why: str) -> None:
    verdict = JUDGE(UNKNOWN[why]())
    assert verdict.status is Status.UNKNOWN, verdict.reason


def test_mitigation_is_told_by_a_rolling_window_from_its_beginning() -> None:
    slow_until = [op(due=n / 100, ms=50 if n < 150 else 5) for n in range(400)]
    assert 1.4 <= mitigated(slow_until, 0, 5.0) <= 1.5
    relapse = [op(due=n / 100, ms=50 if n < 100 or n > 380 else 5) for n in range(400)]
    assert mitigated(relapse, 0, 5.0) == float("inf")


def test_harm_that_comes_late_or_again_is_not_mitigated_before_it() -> None:
    late = [op(due=n / 100, ms=50 if 200 <= n < 250 else 5) for n in range(500)]
    assert 2.4 <= mitigated(late, 0, 5.0) <= 2.5
    assert mitigated([op(due=n / 100, ms=5) for n in range(500)], 0, 5.0) == 0.0


def test_too_few_operations_tell_no_moment_and_are_no_delay() -> None:
    assert np.isnan(mitigated([op(due=n / 10, ms=50) for n in range(50)], 0, 5.0))
    assert np.isnan(mitigated([op(due=0.1)], 0, 5.0))


def test_what_is_neither_back_nor_hurts_is_not_mitigated_yet() -> None:
    halfway = [op(due=n / 100, ms=50 if n < 100 else 6.5 if n < 300 else 5) for n in range(500)]
    assert 2.8 <= mitigated(halfway, 0, 5.0) <= 3.0


def test_the_share_found_counts_only_attacks_that_did_harm() -> None:
    assert figures([])["found_share"] == 0.0
