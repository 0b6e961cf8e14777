"""The drills, a few of each: a lab that is killed, frozen or hindered leaves nothing on the stack.

`make drills` tries two hundred points over every fault there is; these are the kinds of point.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest

from benchmarks.drills import points
from benchmarks.drills.decoys import decoys, state
from benchmarks.drills.ground import Ground, done, ground
from benchmarks.drills.points import Point
from faults.containers import Kill, MemoryLimit, Pause
from faults.network import Latency, Partition
from lab.engine.api import engine, labels
from lab.engine.belongings import residue
from lab.engine.cable import unplug
from lab.engine.hostlock import try_lock
from lab.engine.netns import SIDECAR
from lab.errors import LabError
from lab.fault import Fault
from lab.healing.proof import prove
from lab.healing.undo import unhealed
from lab.journal import Injected
from lab.stack.plan import TOXIPROXY_IMAGE
from tests.docker.standing import SMALLEST

pytestmark = pytest.mark.docker
SLOW = Latency("redis", 100)


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ground]:
    with ground(tmp_path_factory.mktemp("drills"), SMALLEST) as stack:
        yield stack


POINTS: tuple[tuple[Point, Fault], ...] = (
    (points.killed, SLOW),
    (points.killed, Kill("redis")),
    (points.frozen, MemoryLimit("redis", 64)),
    (points.interrupted, Pause("redis")),
    (points.bereft, SLOW),
    (points.wedged, Partition("redis")),
)


@pytest.mark.parametrize(("point", "fault"), POINTS, ids=repr)
def test_a_lab_that_dies_leaves_nothing(on: Ground, point: Point, fault: Fault) -> None:
    seen = point(on, fault, Random(7))
    assert seen.why == ""


def orphaned(on: Ground) -> None:
    """A fault that is in place on the stack, with its lab and its healer dead."""
    on.free()
    count = on.count(Injected)
    with on.inject(SLOW, "30s") as process:
        assert on.in_place(process, count + 1)
        healer = int(
            Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        )
        os.kill(healer, SIGKILL)
        process.kill()
    assert on.left()


def test_heal_takes_a_fault_off_a_kept_stack_and_leaves_the_stack(on: Ground) -> None:
    before = residue(on.run)
    orphaned(on)
    code, output, errors = done(on.folder, "heal", on.run)
    assert (code, on.left()) == (0, ()), errors
    assert "healed latency on link redis" in output
    assert sorted(residue(on.run)) == sorted(before)


def test_heal_removes_a_dead_labs_sidecar_and_plugs_in_a_cable_that_no_journal_tells_of(
    on: Ground,
) -> None:
    before = residue(on.run)
    with engine() as client:
        ids = {box.service: box.id for box in client.standing() if box.run == on.run}
        (network,) = client.placed(ids["redis"]).addresses
        unplug(client, ids["redis"], network)
        marks = labels(on.run, str(on.journal), SIDECAR, kept=True)
        client.client.create_container(TOXIPROXY_IMAGE, labels=marks)  # pyright: ignore[reportUnknownMemberType]
        code, output, errors = done(on.folder, "heal", on.run)
        assert (code, client.placed(ids["redis"]).addresses.keys()) == (0, {network}), errors
    assert "pulled cable of service redis" in output
    assert "a dead lab's sidecar" in output
    assert sorted(residue(on.run)) == sorted(before)


def test_the_next_injection_heals_what_an_earlier_one_left(on: Ground) -> None:
    orphaned(on)
    with on.inject(Pause("redis"), "10ms") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "left by an earlier command, healed" in errors
    assert on.left() == ()


def test_a_stack_has_one_injection_at_a_time(on: Ground) -> None:
    on.free()
    lock = try_lock("lab", on.journal)
    assert lock is not None
    with lock, on.inject(SLOW, "10ms") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "another lab is at work here" in errors
    assert unhealed(on.events()) == ()


def test_down_says_whose_stacks_there_are_and_removes_none_that_was_not_named(
    on: Ground, tmp_path: Path
) -> None:
    code, _, errors = done(tmp_path, "down")
    assert code == 2
    assert on.run in errors
    assert residue(on.run)


def test_a_run_whose_folder_is_gone_is_healed_by_its_labels_alone(tmp_path: Path) -> None:
    with ground(tmp_path, SMALLEST) as stack:
        orphaned(stack)
        shutil.rmtree(stack.journal)
        code, output, errors = done(tmp_path, "heal", stack.run)
        assert code == 0, errors
        assert "on link redis@app" in output
        assert stack.left() == ()


def test_two_hundred_look_alikes_are_not_touched(on: Ground) -> None:
    with decoys(on.run) as token:
        before = state(token)
        assert len(before) == 200
        assert points.killed(on, Kill("redis"), Random(1)).why == ""
        orphaned(on)
        assert done(on.folder, "heal", on.run)[0] == 0
        assert done(on.folder, "sweep")[0] == 0
        assert state(token) == before


def test_reaping_is_shown_once_for_each_start_of_the_engine(tmp_path: Path) -> None:
    told: list[str] = []
    assert prove(told.append, tmp_path) > 0
    assert prove(told.append, tmp_path) == 0.0
    assert len(told) == 1


def test_nothing_is_injected_where_reaping_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_asked(*_: object) -> None:
        """The healer is not let go."""

    monkeypatch.setattr("lab.healing.proof.REAP_SECONDS", 0.5)
    monkeypatch.setattr("lab.healing.proof._dropped", never_asked)
    with pytest.raises(LabError, match="outlived its lease"):
        prove(lambda _: None, tmp_path)
    assert not list(tmp_path.iterdir())
