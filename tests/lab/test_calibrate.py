"""A host is told to be fit or not, and why; the generator proves that it sees a standstill."""

from __future__ import annotations

import os
from dataclasses import replace

import anyio
import pytest

from lab.calibrate import Calibration, calibrate, host_share, monitor_share, rows
from lab.cli.calibrate import calibrate as command
from lab.cli.loop import Leave
from lab.engine.shield import groups
from lab.errors import ExitCode
from lab.stats.design import PairedBlocks
from lab.stats.paired import compare
from tests.histories import quiet_noise
from tests.histories.traces import simulated

RUN = simulated(quiet_noise, 1, design=PairedBlocks())
FIT = Calibration(
    shielded=True,
    ratio=compare(RUN.design, RUN.seed, RUN.due, RUN.latency, pairs=20),
    lateness_p50_ms=0.1,
    lateness_p99_ms=1.0,
    stall_max_ms=10.0,
    strangers_cores=0.1,
    crowded=0.0,
    stolen_share=0.0,
    monitor_share=0.001,
    host_share=0.001,
    frozen_response_p95_ms=400.0,
    frozen_service_p95_ms=1.0,
)


def test_a_fit_host_has_nothing_to_mend() -> None:
    assert FIT.unfit == ""
    assert all(name and value for name, value in rows(FIT))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lateness_p99_ms": 60.0}, "60 ms late"),
        ({"stall_max_ms": 1500.0}, "stood still for 1500 ms"),
        ({"stolen_share": 0.1}, "took 10.0% of a core"),
        ({"crowded": 0.9, "shielded": False, "strangers_cores": 1.3}, "1.30 cores: run as root"),
        ({"crowded": 0.9}, "another run"),
        ({"frozen_response_p95_ms": 20.0}, "does not see a server that stands still"),
        ({"frozen_service_p95_ms": 9.0}, "a bare echo takes 9.0 ms"),
    ],
)
def test_an_unfit_host_is_told_in_one_line_with_what_to_do(
    settings: dict[str, float], told: str
) -> None:
    why = replace(FIT, **settings).unfit
    assert told in why
    assert ":" in why
    assert "\n" not in why


def test_a_short_calibration_sees_the_standstill_and_leaves_nothing_behind() -> None:
    found = anyio.run(calibrate, 2, 1)
    assert found.frozen_response_p95_ms > 300
    assert found.frozen_service_p95_ms < found.frozen_response_p95_ms / 3
    assert found.ratio.pairs + found.ratio.void == 2
    assert 0 < found.monitor_share < 0.05
    assert not groups(f"calibrate-{os.getpid()}")


def test_watching_costs_little() -> None:
    assert monitor_share() < 0.02
    assert host_share() < 0.005


@pytest.mark.parametrize(
    ("found", "code"),
    [(FIT, ExitCode.HELD), (replace(FIT, lateness_p99_ms=60.0), ExitCode.UNKNOWN)],
)
def test_the_command_leaves_with_3_and_one_line_on_an_unfit_host(
    found: Calibration,
    code: ExitCode,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def measured() -> Calibration:
        return found

    monkeypatch.setattr("lab.calibrate.calibrate", measured)
    with pytest.raises(Leave) as left:
        command()
    told = capsys.readouterr()
    assert left.value.code is code
    assert len(told.out.splitlines()) == len(rows(found))
    assert len(told.err.splitlines()) == (code is not ExitCode.HELD)
