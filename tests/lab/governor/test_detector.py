"""The detector: others have to suffer, and somebody has to be behind it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.governor.blame import FLOORS, Resource, Use
from lab.governor.detector import NoisyNeighborDetector, What
from lab.governor.meter import Meter
from lab.governor.suffering import ALARM, Stall, cusum
from lab.history import Op, Outcome

QUIET = tuple(f"quiet-{n}" for n in range(9))
CALM: Use = {tenant: {Resource.CPU: 0.02} for tenant in QUIET} | {"noisy": {Resource.CPU: 0.0}}
HOG: Use = CALM | {"noisy": {Resource.CPU: 1.4}}
TICK_SECONDS = 0.05


def op(tenant: str, at_seconds: float, latency_ms: float, outcome: Outcome = Outcome.OK) -> Op:
    due_ns = int(at_seconds * 1e9)
    done_ns = due_ns + int(latency_ms * 1e6)
    return Op("", tenant, "", 0, "read", "p", due_ns, due_ns, done_ns, outcome)


class Story:
    """Time goes on in ticks; every quiet tenant does about 15 operations a second."""

    def __init__(self, rng: Random | None = None) -> None:
        self.detector, self.rng, self.now = NoisyNeighborDetector(), rng or Random(3), 0.0
        self.flying: list[Op] = []
        self.unfinished: dict[str, float] = {}

    def go(self, seconds: float, use: Use, slow_share: float = 0.0) -> list[str]:
        """What was found in the next seconds, `slow_share` of the operations being slow."""
        found: list[str] = []
        until = self.now + seconds
        while self.now < until:
            self.now += TICK_SECONDS
            for tenant in QUIET:
                if self.rng.random() < 15 * TICK_SECONDS:
                    slow = self.rng.random() < slow_share
                    latency_ms = self.rng.uniform(200, 300) if slow else self.rng.gauss(20, 3)
                    self.flying.append(op(tenant, self.now, latency_ms))
            self.detector.see(self.landed())
            self.detector.uses(self.now, use)
            self.detector.suffering.wait(self.now, self.unfinished)
            if finding := self.detector.judge(self.now):
                found.append(finding.blames[0].tenant if finding.blames else finding.what)
        return found

    def landed(self) -> Sequence[Op]:
        ended = [each for each in self.flying if each.done_ns <= self.now * 1e9]
        self.flying = [each for each in self.flying if each.done_ns > self.now * 1e9]
        return ended


@pytest.fixture
def story() -> Story:
    told = Story()
    for n in range(20):
        told.detector.stall.see("backend", n * 0.1, n * 0.005)
    assert told.go(6.0, CALM) == []
    assert told.detector.ready
    return told


def test_a_culprit_is_found_within_a_second_of_harm(story: Story) -> None:
    found = story.go(1.0, HOG, slow_share=0.3)
    assert found
    assert set(found) == {"noisy"}


def test_use_that_harms_nobody_is_nobodys_business(story: Story) -> None:
    assert story.go(30.0, HOG) == []


def test_harm_without_a_culprit_is_nobodys_fault(story: Story) -> None:
    found = story.go(20.0, CALM, slow_share=0.5)
    assert found
    assert set(found) == {What.NOBODY}


def test_a_tenant_that_is_merely_slow_is_not_blamed(story: Story) -> None:
    for _ in range(200):
        story.now += TICK_SECONDS
        story.detector.see([op("quiet-3", story.now - 0.5, 500.0)])
        story.detector.uses(story.now, CALM)
        finding = story.detector.judge(story.now)
        assert finding is None or finding.what is What.NOBODY


def test_the_culprits_own_slowness_is_no_suffering_of_others(story: Story) -> None:
    for _ in range(200):
        story.now += TICK_SECONDS
        story.detector.see([op("noisy", story.now - 0.5, 500.0)])
        story.detector.uses(story.now, HOG)
        assert story.detector.judge(story.now) is None


def test_refusals_are_no_suffering(story: Story) -> None:
    for _ in range(200):
        story.now += TICK_SECONDS
        story.detector.see([op("quiet-3", story.now, 1.0, Outcome.FAIL)] * 3)
        story.detector.uses(story.now, HOG)
        assert story.detector.judge(story.now) is None


def test_what_was_due_before_an_act_does_not_speak_against_it(story: Story) -> None:
    assert story.go(1.0, HOG, slow_share=1.0)
    story.detector.forget(story.now)
    late = [op(tenant, story.now - 1.0, 1500.0) for tenant in QUIET for _ in range(5)]
    story.detector.see(late)
    assert story.detector.judge(story.now + 0.5) is None


def test_nothing_is_said_before_what_is_usual_is_known() -> None:
    told = Story()
    assert told.go(3.5, HOG, slow_share=1.0) == []
    assert not told.detector.ready


def test_half_the_evidence_is_enough_where_the_kernel_says_that_somebody_waits(
    story: Story,
) -> None:
    detector, now = story.detector, story.now
    detector.forget(now)
    detector.uses(now, HOG)
    slow = [op(tenant, now, 500.0) for tenant in QUIET[:4]]  # 4.4, of 6 that are needed
    detector.see(slow)
    assert detector.judge(now + 0.6) is None
    for at, stalled in ((now, 0.0), (now + 0.6, 0.6)):
        detector.stall.see("backend", at, stalled)
    finding = detector.judge(now + 0.6)
    assert finding is not None
    assert finding.stalled == ("backend",)


def hanging(seconds: float, tenants: Sequence[str], per_second: float = 15.0) -> dict[str, float]:
    """How many messages of each tenant are unfinished when nothing was answered for so long."""
    return dict.fromkeys(tenants, per_second * seconds)


def test_what_hangs_is_suffering_before_it_ends() -> None:
    story = Story()
    story.unfinished = dict.fromkeys((*QUIET, "noisy"), 0.4)
    assert story.go(6.0, CALM) == []
    story.unfinished = hanging(0.4, QUIET) | {"noisy": 200.0}
    assert story.go(0.1, HOG) == ["noisy"]
    assert story.go(0.3, HOG) == [], "what hung before the act speaks against it"


def test_a_crowd_of_ones_own_messages_is_not_the_suffering_of_others() -> None:
    story = Story()
    story.unfinished = dict.fromkeys((*QUIET, "noisy"), 0.4)
    assert story.go(6.0, CALM) == []
    story.unfinished["quiet-3"] = 500.0
    assert story.go(3.0, HOG) == []


def test_twice_the_load_is_no_suffering() -> None:
    story = Story()
    story.unfinished = dict.fromkeys((*QUIET, "noisy"), 0.4)
    assert story.go(6.0, CALM) == []
    story.unfinished = dict.fromkeys((*QUIET, "noisy"), 1.0)
    assert story.go(3.0, HOG) == []


floors = st.floats(0.0, 0.99)


@settings(max_examples=40, deadline=None)
@given(share=st.dictionaries(st.sampled_from(QUIET), floors), slow_share=st.floats(0, 1))
def test_nobody_is_named_for_less_than_the_floor_however_much_others_suffer(
    share: dict[str, float], slow_share: float
) -> None:
    story = Story()
    assert story.go(6.0, CALM) == []
    busy: Use = {
        tenant: {r: FLOORS[r] * share.get(tenant, 0.0) + used.get(r, 0.0) for r in Resource}
        for tenant, used in CALM.items()
    }
    story.unfinished = hanging(slow_share, QUIET)
    assert set(story.go(2.0, busy, slow_share)) <= {What.NOBODY}


@settings(max_examples=40, deadline=None)
@given(
    at=st.lists(st.floats(0, 20), max_size=8),
    who=st.integers(0, 8),
    core=st.floats(0.2, 2.0),
    slow_share=st.floats(0, 1),
)
def test_one_heavy_request_at_a_time_is_never_blamed_whatever_happens_meanwhile(
    at: list[float], who: int, core: float, slow_share: float
) -> None:
    starts = [6.0 + n * 2.5 + each / 20 for n, each in enumerate(sorted(at))]  # 0.4 s of CPU each
    story, meter, name = Story(), Meter(), QUIET[who]
    while story.now < 6.0 + 2.5 * (len(at) + 1):
        done = sum(min(0.4, max(0.0, core * (story.now - start))) for start in starts)
        for tenant in QUIET:
            meter.read(story.now, tenant, {"cpu_seconds": done if tenant == name else 0.0})
        share = slow_share if story.now > 6.0 else 0.0
        assert set(story.go(TICK_SECONDS, meter.use(story.now), share)) <= {What.NOBODY}


@pytest.mark.parametrize("seed", range(20))
def test_who_keeps_a_core_busy_is_found_within_a_second_of_it(seed: int) -> None:
    story, meter = Story(Random(seed)), Meter()
    onset = 8.0
    while True:
        used = max(0.0, story.now - onset)
        meter.read(story.now, "noisy", {"cpu_seconds": used})
        found = story.go(TICK_SECONDS, meter.use(story.now), 0.2 if used else 0.03)
        if found:
            break
    assert found == ["noisy"]
    assert story.now - onset <= 1.0


@given(st.lists(st.booleans(), max_size=200))
def test_the_sum_is_never_negative_and_one_more_slow_one_always_raises_it(
    marks: list[bool],
) -> None:
    total = cusum(marks)
    assert total >= 0
    assert cusum([*marks, True]) > total
    assert cusum([*marks, False]) <= total


def test_one_in_twenty_slow_ones_hardly_ever_alarm_and_one_in_four_soon_do() -> None:
    rng = Random(1)

    def alarmed(slow_share: float) -> int:
        windows = ([rng.random() < slow_share for _ in range(150)] for _ in range(300))
        return sum(cusum(window) > ALARM for window in windows)

    assert alarmed(0.05) <= 3
    assert alarmed(0.25) >= 285


def test_pressure_that_is_usual_alarms_nobody_and_more_of_it_does() -> None:
    stall = Stall()
    for n in range(100):
        stall.see("backend", n * 0.1, n * 0.1 * 0.07)
    stall.fix()
    for n in range(100, 200):
        stall.see("backend", n * 0.1, n * 0.1 * 0.07)
    assert not stall.alarmed
    for n in range(200, 210):
        stall.see("backend", n * 0.1, 200 * 0.1 * 0.07 + (n - 200) * 0.1 * 0.9)
    assert set(stall.alarmed) == {"backend"}
    stall.forget()
    assert not stall.alarmed
