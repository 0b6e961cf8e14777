"""The shield is one cgroup of the run: heaviest of all, and gone with the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.engine.shield import Shield, forwarders, groups, lower


def host(root: Path, *controllers: str) -> Path:
    """A tree of cgroups that is only folders."""
    for controller in controllers:
        (root / controller).mkdir()
    return root


def test_the_engine_is_told_a_path_or_with_systemd_a_slice_that_does_not_nest() -> None:
    assert Shield("2026-a1", 1, "cgroupfs").parent == "/crosstalk-2026-a1"
    assert Shield("2026-a1", 2, "systemd").parent == "crosstalk_2026_a1.slice"


@pytest.mark.parametrize(
    ("version", "name", "weight"), [(1, "cpu.shares", "262144"), (2, "cpu.weight", "10000")]
)
def test_it_has_the_greatest_weight_there_is(
    tmp_path: Path, version: int, name: str, weight: str
) -> None:
    shield = Shield("r-1", version, "cgroupfs", host(tmp_path, "cpu"))
    shield.up()
    assert (shield.folder / name).read_text() == weight


def test_every_group_of_the_run_goes_in_every_tree_and_no_other(tmp_path: Path) -> None:
    host(tmp_path, "cpu", "memory", "pids")
    mine = ["cpu/crosstalk-r-1/abc", "cpu/crosstalk-r-1/lab", "memory/crosstalk-r-1/abc"]
    others = ["cpu/crosstalk-r-10/abc", "cpu/docker/abc", "pids/crosstalk-r-2"]
    for path in (*mine, *others):
        (tmp_path / path).mkdir(parents=True)
    removed = lower("r-1", tmp_path)
    assert "cgroup cpu/crosstalk-r-1" in removed
    assert groups("r-1", tmp_path) == ()
    assert all((tmp_path / path).is_dir() for path in others)


def test_a_run_with_an_odd_name_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "crosstalk-").mkdir()
    assert lower("", tmp_path) == ()
    assert lower("../x", tmp_path) == ()
    assert (tmp_path / "crosstalk-").is_dir()


def test_a_host_whose_cgroups_cannot_be_had_has_no_shield_and_says_why(tmp_path: Path) -> None:
    assert "no CPU controller" in Shield("r-1", 1, "cgroupfs", tmp_path).missing()
    host(tmp_path, "cpu")
    assert "cpu.shares is not there" in Shield("r-1", 1, "cgroupfs", tmp_path).missing()
    assert list((tmp_path / "cpu").iterdir()) == []


def test_nobody_forwards_a_port_that_is_not_published() -> None:
    assert forwarders([]) == ()
    assert forwarders([1]) == ()
