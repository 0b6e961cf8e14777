"""The host's CPU is accounted for: what is ours is ours, and strangers are the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.host import HostCpu, Lasting, busy_ticks, of_group, of_lab, of_process


def burn(seconds: float) -> None:
    """Use that much CPU time of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_what_this_process_burns_is_the_machines_and_its_own() -> None:
    cpu = HostCpu([time.process_time])
    before = cpu.values()
    burn(0.3)
    after = cpu.values()
    grown = {name: after[name] - before[name] for name in after}
    assert 0.29 <= grown["own_seconds"] <= 0.45
    assert grown["busy_seconds"] >= 0.28


def test_a_child_counts_as_the_labs_and_anybody_else_does_not() -> None:
    spin = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    with subprocess.Popen([sys.executable, "-c", spin + "input()"], stdin=subprocess.PIPE) as child:
        own, alone = HostCpu(of_lab()), HostCpu([time.process_time])
        deadline = time.monotonic() + 20
        while of_process(child.pid)() < 0.3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert own.values()["own_seconds"] >= 0.25 + alone.values()["own_seconds"] - 0.1
        child.kill()


def test_a_counter_lasts_when_its_source_goes_and_goes_on_when_another_takes_its_place(
    tmp_path: Path,
) -> None:
    file = tmp_path / "cpuacct.usage"
    file.write_text("2000000000\n")
    lasting = Lasting(of_group(file))
    assert lasting() == 2.0
    file.unlink()
    assert lasting() == 2.0
    file.write_text("500000000\n")
    assert lasting() == 2.5
    file.write_text("700000000\n")
    assert lasting() == pytest.approx(2.7)


def test_what_has_gone_before_it_is_first_read_uses_nothing(tmp_path: Path) -> None:
    assert Lasting(of_group(tmp_path / "cpuacct.usage"))() == 0.0
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        child.wait()
        assert HostCpu([of_process(child.pid)]).values()["own_seconds"] == 0.0


def test_another_runs_shield_is_a_rival_from_when_it_is_first_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.host.CGROUPS", tmp_path)
    for name, used in (("crosstalk-ours", "7"), ("crosstalk-other", "5"), ("docker", "3")):
        (tmp_path / "cpuacct" / name).mkdir(parents=True)
        (tmp_path / "cpuacct" / name / "cpuacct.usage").write_text(f"{used}000000000")
    cpu = HostCpu([], run="ours")
    assert cpu.values()["rival_seconds"] == 0.0
    (tmp_path / "cpuacct" / "crosstalk-ours" / "cpuacct.usage").write_text("9000000000")
    (tmp_path / "cpuacct" / "crosstalk-other" / "cpuacct.usage").write_text("6500000000")
    assert cpu.values()["rival_seconds"] == 1.5


def test_both_versions_of_cgroups_are_read(tmp_path: Path) -> None:
    stat = tmp_path / "cpu.stat"
    stat.write_text("usage_usec 1500000\nuser_usec 1000000\n")
    assert of_group(stat)() == 1.5


def test_ticks_and_the_exact_counter_say_the_same() -> None:
    cpu = HostCpu([])
    ticks, exact = busy_ticks(), cpu.values()["busy_seconds"]
    burn(1.0)
    ticks, exact = busy_ticks() - ticks, cpu.values()["busy_seconds"] - exact
    assert ticks == pytest.approx(exact, rel=0.5, abs=0.3)


def test_a_reading_costs_less_than_a_millisecond() -> None:
    cpu = HostCpu([*of_lab(), of_process(os.getpid())])
    costs: list[int] = []
    for _ in range(50):
        began = time.thread_time_ns()
        cpu.values()
        costs.append(time.thread_time_ns() - began)
    assert sorted(costs)[25] < 1_000_000
