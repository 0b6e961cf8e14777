"""The interpreter on a fake lab: a real generator and real sockets, no containers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic_ns
from typing import ClassVar

import anyio
import pytest

from experiments._tenants import notes
from lab.actions import Read, Write
from lab.companion import Companion, Scene
from lab.errors import LabError
from lab.experiment import Experiment, Phase, Timed
from lab.fault import Effect, Window
from lab.hands import AgentProcess, Lab
from lab.history import History, Op, history
from lab.journal import Confirmed, Entered, Healed, Injecting, Journal, Left, Opened, Sampled, read
from lab.nemesis import guard
from lab.run import Ground, perform
from lab.stack.file import load_driver
from lab.stats.design import PairedBlocks
from lab.system import Ability
from lab.verdict import Status, Verdict, worst
from lab.verifiers import cleanup, confirmed, isolation, judge_all, latency, recovery
from lab.workload import Cohort, Workload
from tests.fakes import behaviours
from tests.fakes.server import FakeBackend, fake_backend
from tests.fakes.stack import FakeContainers, FakeLinks, lab_of

EVERYONE = Cohort("tenant", 3)
WORK = Workload(EVERYONE.name, notes, 40.0, frozenset({Write, Read}), deadline_seconds=0.5)


BACKENDS: dict[int, FakeBackend] = {}
"""By port: a fault's fields go into the journal, so they are plain values."""


class Quiet:
    """Nobody watches."""

    def say(self, line: str) -> None:
        """Not heard."""

    def phase(self, name: str, seconds: float) -> None:
        """Not seen."""

    def ops(self, batch: object) -> None:
        """Not counted."""


@dataclass(frozen=True, slots=True)
class Mute:
    """The backend answers nothing while this holds."""

    port: int
    heals: bool = True
    kind: ClassVar[str] = "mute"

    @property
    def target(self) -> str:
        """Who is muted."""
        return "backend"

    async def inject(self, lab: Lab) -> None:
        """Say nothing from now on."""
        BACKENDS[self.port].manners.silent = frozenset({"write", "read"})

    async def heal(self, lab: Lab) -> None:
        """Speak again, or not, if the test wants a heal that does nothing."""
        if self.heals:
            BACKENDS[self.port].manners.silent = frozenset()

    def effect(self, before: Window, during: Window) -> Effect:
        """Felt when nothing was answered."""
        answered = [op for op in during.ops if op.outcome == "ok"]
        return Effect(not answered and bool(during.ops), "nothing answered", {})


Story = Callable[[FakeBackend], Experiment]


def cut(backend: FakeBackend, *, heals: bool = True) -> Experiment:
    """A baseline, a silence, and the time after it."""
    return Experiment(
        claim="It comes back.",
        cohorts=(EVERYONE,),
        workloads=(WORK,),
        phases=(
            Phase("baseline", 4),
            Phase("cut it", 1, faults=(Mute(backend.port, heals),)),
            Phase("after", 3),
        ),
        verifiers=(
            recovery.settles_within(
                1.5, before="baseline", fault="cut it", after="after", of=EVERYONE.name,
                window_seconds=0.125,
            ),
            isolation.no_foreign_canaries(),
            confirmed.every_fault_bit(),
            cleanup.nothing_left(),
        ),
    )  # fmt: skip


class Witness:
    """A companion that notes when it came, what it saw, and when it left."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.seen = 0

    @asynccontextmanager
    async def beside(self, scene: Scene) -> AsyncGenerator[None]:
        """Note both ends."""
        self.told.append(f"{len(scene.tenants)} tenants")
        yield
        self.told.append("left")

    def see(self, batch: Sequence[Op]) -> None:
        """Count."""
        self.seen += len(batch)


def performed(
    folder: Path, story: Story, *, agents: bool = False, companions: tuple[Companion, ...] = ()
) -> tuple[History, list[Verdict]]:
    """Perform a story on the fake backend; its history and verdicts."""
    ops: list[Op] = []

    async def scene() -> Experiment:
        async with fake_backend() as backend:
            BACKENDS[backend.port] = backend
            experiment = story(backend)
            table = {"ghost": AgentProcess("app", 7, 1)} if agents else {}
            ground = Ground(
                backend.site,
                lab_of(FakeLinks(), FakeContainers(table)),
                backend.driver_file,
                load_driver(backend.driver_file),
                companions=companions,
            )
            opened = Opened(
                run="r-1", experiment="x", seed=7, epoch_ns=monotonic_ns(), wall="",
                profile="quick", mode="", system="fake", tenants=0,
                abilities=(Ability.AGENTS,) if agents else (),
            )  # fmt: skip
            with Journal(folder) as journal:
                journal.append(opened)
                await perform(experiment, opened, ground, journal, Quiet(), ops)
            return experiment

    experiment = anyio.run(scene)
    seen = history(ops, read(folder))
    return seen, list(judge_all(experiment.verifiers, seen))


def test_a_story_that_recovers_is_held_and_told_in_order(tmp_path: Path) -> None:
    seen, verdicts = performed(tmp_path, cut)
    assert worst(verdicts) is Status.HELD, [v.reason for v in verdicts]
    kinds = [type(e) for e in seen.events if not isinstance(e, Sampled)]
    story = [Entered, Left, Entered, Injecting, Healed, Left, Entered, Left]
    assert [k for k in kinds if k in set(story)] == story
    assert [e.bit for e in seen.of(Confirmed)] == [True]
    assert {op.phase for op in seen.ops} == {"baseline", "cut it", "after"}


def test_a_companion_sees_every_operation_and_leaves_with_the_last_phase(tmp_path: Path) -> None:
    witness = Witness()
    seen, _ = performed(tmp_path, cut, companions=(witness,))
    assert witness.told == ["3 tenants", "left"]
    assert witness.seen == len(seen.ops) > 0


def test_a_backend_that_stays_silent_is_violated_by_recovery_alone(tmp_path: Path) -> None:
    _, verdicts = performed(tmp_path, lambda backend: cut(backend, heals=False))
    assert [v.verifier for v in verdicts if v.status is Status.VIOLATED] == ["recovery"]


def test_a_ghost_among_the_agents_before_and_after_is_no_leftover(tmp_path: Path) -> None:
    _, verdicts = performed(tmp_path, cut, agents=True)
    assert verdicts[-1].status is Status.HELD


def test_tenants_that_cannot_connect_are_the_labs_failure_in_one_line(tmp_path: Path) -> None:
    def shut(backend: FakeBackend) -> Experiment:
        backend.manners.shut = True
        return cut(backend)

    with pytest.raises(LabError, match="3 of 3 tenants cannot connect"):
        performed(tmp_path, shut)


def test_timed_faults_come_and_go_inside_a_phase_and_each_is_asked_whether_it_bit(
    tmp_path: Path,
) -> None:
    def chaos(backend: FakeBackend) -> Experiment:
        mute = Mute(backend.port, heals=True)
        faults = (Timed(mute, 0.3, 1.3), Timed(mute, 1.9, 2.9))
        story = cut(backend)
        return replace(story, phases=(*story.phases[:1], Phase("chaos", 3.5, faults)))

    seen, _ = performed(tmp_path, chaos)
    load = next(s for s in seen.of(Sampled) if s.probe == "load chaos")
    begun = [(e.at_ns - load.at_ns) / 1e9 for e in seen.of(Injecting)]
    ended = [(e.at_ns - load.at_ns) / 1e9 for e in seen.of(Healed)]
    assert begun == pytest.approx([0.3, 1.9], abs=0.25)
    assert ended == pytest.approx([1.3, 2.9], abs=0.25)
    assert [e.bit for e in seen.of(Confirmed)] == [True, True]
    assert seen.during("chaos")[-1].outcome == "ok"


def test_a_host_beyond_its_limits_ends_the_story_with_everything_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beyond(_: guard.Limits, seen: guard.Reading) -> str:
        return f"too much of {seen.oldest}" if seen.oldest else ""

    def endless(backend: FakeBackend) -> Experiment:
        return replace(cut(backend), phases=(Phase("cut it", 60, (Mute(backend.port, True),)),))

    monkeypatch.setattr(guard, "beyond", beyond)
    seen, _ = performed(tmp_path, endless)
    assert [e.error for e in seen.of(Healed)] == [""]
    (verdict,) = guard.verdicts(seen)
    assert verdict.status is Status.UNKNOWN
    assert "too much of mute" in verdict.reason


def test_a_paired_phase_ends_as_soon_as_a_look_decides(tmp_path: Path) -> None:
    design = PairedBlocks(looks=(6, 12), requests_min=10, alpha=0.2, margin=3.0)

    def flood(_: FakeBackend) -> Experiment:
        noise = Workload("noisy", behaviours.reads, 20.0, frozenset({Read}))
        return Experiment(
            claim="Nobody minds.",
            cohorts=(EVERYONE, Cohort("noisy", 1)),
            workloads=(WORK,),
            phases=(Phase("attack", design.seconds, joined_by=(noise,), paired=design),),
            verifiers=(latency.neighbours_keep_their_p95(design, of=EVERYONE.name),),
        )

    seen, _ = performed(tmp_path, flood)
    (left,) = seen.of(Left)
    assert left.why == "HELD after 6 pairs"
    gates = design.gate(7)
    load = next(s for s in seen.of(Sampled) if s.probe == "load attack")
    noisy = [(op.due_ns - load.at_ns) / 1e9 for op in seen.during("attack", cohort="noisy")]
    assert noisy
    assert all(any(start <= at < end for start, end in gates) for at in noisy)
