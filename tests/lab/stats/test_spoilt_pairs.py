"""What strangers and stalls do to pairs: told by counters and clocks, never by latency."""

from __future__ import annotations

import msgspec
import numpy as np

from lab.journal import Event, Sampled
from lab.stats.design import PairedBlocks
from lab.stats.host import CALM, Host, host_of
from tests.histories import ns, opened

DESIGN = PairedBlocks()


def reading(at: float, **values: float) -> Sampled:
    none = {"busy_seconds": 0.0, "own_seconds": 0.0, "rival_seconds": 0.0, "steal_seconds": 0.0}
    return Sampled(probe="host", at_ns=ns(at), values=none | values)


def burnt(cores: float, start: float, end: float) -> Host:
    """Strangers take `cores` from `start` to `end`."""
    at = np.arange(0, 70, 0.25)
    return Host((), at, cores * np.clip(at - start, 0, end - start), np.zeros(len(at)))


def test_strangers_are_the_machine_less_the_run() -> None:
    events: list[Event] = [
        opened(),
        reading(10, busy_seconds=100.0, own_seconds=7.0),
        reading(12, busy_seconds=103.0, own_seconds=9.0),
    ]
    host = host_of(events, since_ns=ns(10))
    assert host.strangers_cores(np.array([0.0, 1.0]), 1.0).tolist() == [0.5, 0.5]


def test_behind_a_shield_only_other_shields_count() -> None:
    shielded = msgspec.structs.replace(opened(), shield=True)
    readings = [
        reading(0, busy_seconds=0.0, rival_seconds=0.0),
        reading(2, busy_seconds=4.0, rival_seconds=1.0),
    ]
    start = np.zeros(1)
    assert host_of([shielded, *readings], since_ns=0).strangers_cores(start, 1.0)[0] == 0.5
    assert host_of([opened(), *readings], since_ns=0).strangers_cores(start, 1.0)[0] == 2.0


def test_a_pair_is_crowded_by_its_whole_second_and_not_by_one_block() -> None:
    # What the aggressor takes away from strangers in its own block must not choose the pairs.
    one_block = burnt(0.9, 3.0, 3.5)
    assert not one_block.crowded(DESIGN, 20).any()
    assert burnt(1.2, 3.0, 3.5).crowded(DESIGN, 20).nonzero()[0].tolist() == [2]
    assert burnt(0.6, 3.0, 5.0).crowded(DESIGN, 20).nonzero()[0].tolist() == [2, 3]


def test_a_host_that_nobody_watched_is_not_called_quiet() -> None:
    assert not CALM.watched
    assert not CALM.crowded(DESIGN, 60).any()
    assert burnt(1.0, 0.0, 1.0).watched


def test_stalls_are_dated_back_from_their_end_and_told_by_the_block_they_touch() -> None:
    stall = Sampled(probe="stall", at_ns=ns(13.3), values={"stall_ms": 600.0})
    host = host_of([opened(), stall], since_ns=ns(10))
    assert np.allclose(host.stalls, [(2.7, 3.3)])
    assert host.stalled(DESIGN, 20).nonzero()[0].tolist() == [1, 2]
    touched = host.stalled_on(DESIGN, 5, 20)
    on = {b.pair: b for b in DESIGN.blocks(5) if b.on}
    for pair in (1, 2):
        assert touched[pair] == (on[pair].start_seconds < 3.3 and on[pair].end_seconds > 2.7)
    assert not touched[3:].any()
    assert 0.29 < host.stalled_seconds(3.0) < 0.31


def test_stolen_time_is_counted_from_the_start_of_the_phase() -> None:
    readings = [reading(0, steal_seconds=50.0), reading(10, steal_seconds=52.0)]
    host = host_of([opened(), *readings], since_ns=ns(5))
    assert host.stolen_seconds(5.0) == 1.0
