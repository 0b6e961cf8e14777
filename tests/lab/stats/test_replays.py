"""The judge on recorded traffic: nobody is accused where nobody attacked, and attacks are found."""

from __future__ import annotations

import numpy as np
import pytest

from lab.stats.design import PairedBlocks
from lab.verdict import Status
from tests.histories import Noise, drifting_noise, heavy_noise
from tests.histories.mutants import before_after
from tests.histories.traces import FOLDER, RECORDED, recorded, replay, simulated

DESIGN = PairedBlocks()
LOOKS = DESIGN.looks


def violated(statuses: list[Status]) -> float:
    return statuses.count(Status.VIOLATED) / len(statuses)


@pytest.mark.parametrize("gated", [True, False])
def test_where_nobody_attacked_on_a_noisy_host_nobody_is_accused(gated: bool) -> None:
    noisy = recorded("noisy")
    runs = [replay(noisy, seed, design=DESIGN, gated=gated) for seed in range(200)]
    assert violated([run.judged().status for run in runs]) <= 0.005
    assert violated([before_after(run) for run in runs[:100]]) > 0.2


def test_where_nobody_attacked_on_a_quiet_host_that_is_held() -> None:
    runs = [replay(recorded("quiet"), n, design=DESIGN, gated=False) for n in range(150)]
    found = [run.judged().status for run in runs]
    assert violated(found) == 0
    assert found.count(Status.HELD) >= 0.95 * len(found)


@pytest.mark.parametrize("noise", [drifting_noise, heavy_noise])
def test_where_nobody_attacked_on_a_made_up_host_nobody_is_accused(noise: Noise) -> None:
    runs = [simulated(noise, seed, design=DESIGN) for seed in range(150)]
    assert violated([run.judged().status for run in runs]) <= 0.005


def test_a_fifth_slower_is_found_on_a_quiet_host() -> None:
    runs = [
        replay(recorded("quiet"), n, effect=1.2, design=DESIGN, gated=False) for n in range(100)
    ]
    assert violated([run.judged().status for run in runs]) >= 0.95


def test_a_host_that_strangers_crowd_gives_no_answer_at_all() -> None:
    noisy = recorded("noisy")
    runs = [replay(noisy, seed, effect=3.0, design=DESIGN) for seed in range(40)]
    crowded = [run for run in runs if min(run.host.crowded(DESIGN, n).mean() for n in LOOKS) > 0.5]
    assert len(crowded) >= 10
    assert {run.judged().status for run in crowded} == {Status.UNKNOWN}


@pytest.mark.parametrize("name", RECORDED)
def test_traces_are_small_and_long(name: str) -> None:
    assert (FOLDER / f"{name}.npz").stat().st_size <= 300_000
    trace = recorded(name)
    assert trace.seconds >= 290
    assert np.all(np.diff(trace.due) >= 0)
