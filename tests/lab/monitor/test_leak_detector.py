"""The detector names who keeps something of every request while the run goes on, once."""

from __future__ import annotations

from collections.abc import Callable

from lab.history import Outcome
from lab.monitor import Kind, Sample, Source
from lab.monitor.leaks import Leak, ResourceLeakDetector
from tests.histories import ns, op

LEAKY = Source(Kind.AGENT, "tools-0", "c", 41, 1)
SOUND = Source(Kind.AGENT, "quiet-0", "c", 42, 1)
EPOCH_NS = 77 * 10**9


def fed(detector: ResourceLeakDetector, levels: dict[Source, Callable[[int], float]]) -> None:
    """Twenty seconds of five readings and twenty-five requests of each source a second."""
    for tick in range(100):
        due = tick / 5
        for source, level in levels.items():
            detector.see([op(source.name, due=due) for _ in range(5)])
            detector.take(Sample(source, EPOCH_NS + ns(due), {"memory_bytes": level(tick * 5)}))


def test_who_leaks_is_named_once_and_nobody_else() -> None:
    told: list[Leak] = []
    detector = ResourceLeakDetector(told.append, epoch_ns=EPOCH_NS, warm_up_seconds=2)
    fed(detector, {LEAKY: lambda n: 11e6 + 1024 * n, SOUND: lambda n: 11e6})
    assert [leak.source for leak in told] == [LEAKY]
    assert "tools-0 (pid 41) grows by" in str(told[0])
    assert told[0].at_ns < EPOCH_NS + ns(2 + 10)


def test_whoever_grows_only_while_it_warms_up_is_not_named() -> None:
    told: list[Leak] = []
    detector = ResourceLeakDetector(told.append, epoch_ns=EPOCH_NS, warm_up_seconds=8)
    fed(detector, {SOUND: lambda n: 11e6 + 4096 * min(n, 200)})
    assert not told


def test_requests_that_failed_are_no_requests() -> None:
    told: list[Leak] = []
    detector = ResourceLeakDetector(told.append, epoch_ns=EPOCH_NS, warm_up_seconds=2)
    for tick in range(100):
        detector.see([op(LEAKY.name, due=tick / 5, outcome=Outcome.FAIL)])
        at_ns = EPOCH_NS + ns(tick / 5)
        detector.take(Sample(LEAKY, at_ns, {"memory_bytes": 11e6 + 1e4 * tick}))
    assert not told
