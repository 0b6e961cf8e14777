"""Experiments, faults and systems are found by name, and a wrong name gets the nearest ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import catalog
from lab.errors import UsageError
from lab.experiment import Profile, Setup
from lab.stack import file as stackfile
from lab.system import actions_of
from lab.workload import Workload

ROOT = Path(__file__).parents[2]
NAMES = ("cross_contamination", "noisy_neighbor", "partition", "tenant_crash")
SYSTEMS = sorted(path.parent for path in (ROOT / "compose").glob("*/stack.yaml"))


def test_every_experiment_is_its_modules_name() -> None:
    assert set(NAMES) <= set(catalog.experiments())
    assert all(entry.summary.endswith(".") for entry in catalog.experiments().values())


def test_an_unknown_experiment_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="noisy_neighbor"):
        catalog.experiment("noisy_neighbour")


def test_a_name_like_no_other_names_all() -> None:
    with pytest.raises(UsageError, match="partition"):
        catalog.experiment("zzzzzz")


def test_every_fault_has_a_kind_of_its_own_and_a_meaning() -> None:
    assert {"latency", "partition", "down", "crash_agent"} <= set(catalog.faults())
    assert all(fault.__doc__ for fault in catalog.faults().values())


@pytest.mark.parametrize("folder", SYSTEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_consistent_with_itself(name: str, profile: Profile, folder: Path) -> None:
    system = stackfile.load(folder)
    view = system.view(actions_of(stackfile.load_driver(system.driver)))
    story = catalog.experiment(name).build(Setup(profile, 7, view))
    phases = [phase.name for phase in story.phases]
    assert len(phases) == len(set(phases))
    cohorts = {cohort.name for cohort in story.cohorts}
    joined = [w for phase in story.phases for w in phase.joined_by]
    workloads: list[Workload] = [*story.workloads, *joined]
    assert {w.cohort for w in workloads} == cohorts
    assert story.verifiers


@pytest.mark.parametrize("name", NAMES)
def test_the_tenants_option_counts_everybody(name: str) -> None:
    system = stackfile.load(SYSTEMS[-1])
    view = system.view(actions_of(stackfile.load_driver(system.driver)))
    story = catalog.experiment(name).build(Setup(Profile.QUICK, 7, view, tenants=13))
    assert sum(cohort.size for cohort in story.cohorts) == 13


def test_a_system_is_found_by_folder_or_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for folder in catalog.systems():
        assert catalog.system_folder(str(folder)) == folder
        assert catalog.system_folder(folder.name) == folder
    assert catalog.system_folder("") in catalog.systems()


def test_an_unknown_system_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError, match="compose/"):
        catalog.system_folder("compose/nowhere")
