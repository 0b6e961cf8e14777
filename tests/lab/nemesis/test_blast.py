"""A fault on one cohort is confirmed by that cohort alone, and only if the others are well."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from faults.network import Down, Latency
from faults.tenants import CrashAgent
from lab.fault import Window
from lab.history import Op, Outcome
from lab.nemesis.blast import cohort_of, judged

NOISY = Latency("client@noisy", 100)
COHORTS = frozenset({"quiet", "noisy"})


def ops(cohort: str, latency_ms: float, outcome: Outcome = Outcome.OK) -> list[Op]:
    """Twenty operations of one cohort."""
    done_ns = int(latency_ms * 1e6)
    return [
        Op(f"{cohort}{n}", cohort, cohort, 0, "read", "p", 0, 0, done_ns, outcome)
        for n in range(20)
    ]


def seen(*parts: Sequence[Op]) -> Window:
    """A second with these operations."""
    return Window(1.0, tuple(op for part in parts for op in part), {})


CALM = seen(ops("quiet", 5), ops("noisy", 5))


@pytest.mark.parametrize(
    ("quiet_ms", "noisy_ms", "bit"),
    [(5, 110, True), (5, 5, False), (110, 5, False), (110, 110, False)],
)
def test_only_the_cohort_that_is_hit_confirms_and_the_others_must_be_well(
    quiet_ms: float, noisy_ms: float, bit: bool
) -> None:
    effect = judged(NOISY, CALM, seen(ops("quiet", quiet_ms), ops("noisy", noisy_ms)))
    assert effect.bit is bit
    assert "control quiet" in effect.how
    assert effect.observed["delay_ms"] == noisy_ms - 5
    assert effect.observed["control_delay_ms"] == quiet_ms - 5


def test_a_cut_of_one_entrance_is_confirmed_by_its_own_silence() -> None:
    during = seen(ops("quiet", 5), ops("noisy", 5, Outcome.INFO))
    assert judged(Down("client@noisy"), CALM, during).bit
    assert not judged(Down("client@quiet"), CALM, during).bit


def test_a_fault_on_a_whole_link_is_everybodys() -> None:
    whole = Latency("redis", 100)
    during = seen(ops("quiet", 110), ops("noisy", 110))
    assert judged(whole, CALM, during) == whole.effect(CALM, during)


def test_what_is_no_cohort_or_no_link_has_no_control_group() -> None:
    assert cohort_of(Latency("redis@app", 1), COHORTS) == ""
    assert cohort_of(CrashAgent("target-0"), COHORTS) == ""
    assert cohort_of(NOISY, COHORTS) == "noisy"


def test_with_nobody_else_there_the_cohort_stands_for_itself() -> None:
    alone, slow = seen(ops("noisy", 5)), seen(ops("noisy", 110))
    assert judged(NOISY, alone, slow) == NOISY.effect(alone, slow)
