"""The governor beside a run: who is noisy is held, with a reason, and given everything back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime, monotonic_ns

import anyio
import pytest

from lab.companion import Scene
from lab.errors import LabError
from lab.governor import detector
from lab.governor.blame import Blame, Resource, Use
from lab.governor.case import SETTLE_FACTOR, SETTLE_SECONDS, Case, presses
from lab.governor.enforcer import QuotaEnforcer
from lab.governor.governor import Governor
from lab.governor.measures import Cap, Demote, Freeze, KillAgent, Reach
from lab.hands import AgentProcess
from lab.history import Op, Outcome, history
from lab.journal import GOVERNOR, Acted, Event, Journal, Sampled, read
from lab.monitor import Kind, ResourceMonitor, Sample, Source
from lab.procfs import TICKS_PER_SECOND
from lab.system import Site
from lab.verifiers._attacks import named, touched
from tests.fakes.quotas import EVERYBODYS, FakeQuotas
from tests.fakes.stack import FakeContainers, FakeLinks, lab_of
from tests.histories import opened

QUIET = tuple(f"quiet-{n}" for n in range(4))
TICK_SECONDS = 0.02


@dataclass
class World:
    """A system in name only, and time that goes on in it."""

    folder: Path
    quotas: FakeQuotas = field(default_factory=FakeQuotas)
    ops: list[Op] = field(default_factory=list[Op])
    epoch_ns: int = field(default_factory=monotonic_ns)

    @property
    def events(self) -> tuple[Event, ...]:
        return read(self.folder)

    @property
    def acts(self) -> list[str]:
        return [e.action for e in self.events if isinstance(e, Acted)]

    @asynccontextmanager
    async def governed(self, governor: Governor) -> AsyncGenerator[None]:
        ids = {name: f"t-{name}" for name in ("noisy-0", *QUIET)}
        lab = lab_of(FakeLinks(), FakeContainers(), ids)
        with Journal(self.folder) as journal:
            scene = Scene(
                replace(lab, quotas=self.quotas), Site({}, {}, {}), (), journal, self.epoch_ns
            )
            async with governor.beside(scene):
                yield

    async def goes_on(
        self,
        governor: Governor,
        seconds: float,
        *,
        latency_ms: float = 5.0,
        hog: bool = False,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """The quiet ones work at an even pace; the noisy one's meter runs, while it is a hog."""
        began, phase = monotonic_ns(), "attack" if hog else "calm"
        used = self.quotas.told.setdefault("noisy-0", {"agent_cpu_ms": 0.0})
        before_ms = used["agent_cpu_ms"]
        while (now := monotonic_ns()) < began + seconds * 1e9 and not until():
            at = now - self.epoch_ns
            due = at - int(latency_ms * 1e6)
            self.ops = [
                Op("", t, "quiet", 0, "read", phase, due, due, at, Outcome.OK) for t in QUIET
            ]
            governor.see(self.ops)
            used["agent_cpu_ms"] = before_ms + ((now - began) / 1e6 if hog else 0.0)
            await anyio.sleep(TICK_SECONDS)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(detector, "SKIP_SECONDS", 0.1)
    monkeypatch.setattr(detector, "LEARN_SECONDS", 0.8)
    return World(tmp_path)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with anyio.fail_after(30):
            await story()

    anyio.run(main)


def test_who_is_noisy_is_named_and_held_and_at_the_end_everything_is_as_before(
    world: World,
) -> None:
    async def story() -> None:
        governor = Governor()
        async with world.governed(governor):
            await world.goes_on(governor, 1.2)
            await world.goes_on(
                governor, 5, latency_ms=80, hog=True, until=lambda: bool(world.quotas.own)
            )
            assert world.quotas.own == {("noisy-0", "cpu"): 20.0}
        assert world.quotas.own == {("noisy-0", "cpu"): EVERYBODYS["cpu"]}

    run(story)
    acts = [e for e in world.events if isinstance(e, Acted)]
    assert acts[0].action == "could not leave noisy-0 the idle CPU only"  # it has no process here
    first = acts[1]
    assert (first.actor, first.tenant) == (GOVERNOR, "noisy-0")
    assert "were slow" in first.reason
    assert "of cpu" in first.reason
    assert f"lifted: {first.action}" in world.acts
    findings = [e for e in world.events if isinstance(e, Sampled) and "culprit" in e.items]
    assert {e.items["culprit"] for e in findings} == {("noisy-0",)}


def test_a_tenant_that_has_calmed_down_gets_everything_back_before_the_end(world: World) -> None:
    async def story() -> None:
        governor = Governor()
        async with world.governed(governor):
            await world.goes_on(governor, 1.2)
            await world.goes_on(
                governor, 5, latency_ms=80, hog=True, until=lambda: bool(world.quotas.own)
            )
            back = {("noisy-0", "cpu"): EVERYBODYS["cpu"]}
            await world.goes_on(governor, 8, until=lambda: world.quotas.own == back)
            assert world.quotas.own == back

    run(story)


def test_in_an_unguarded_phase_it_finds_and_does_nothing(world: World) -> None:
    async def story() -> None:
        governor = Governor(unguarded=frozenset({"attack"}))
        async with world.governed(governor):
            await world.goes_on(governor, 1.2)
            await world.goes_on(governor, 0.8, latency_ms=80, hog=True)

    run(story)
    assert not world.acts
    assert any(isinstance(e, Sampled) and "culprit" in e.items for e in world.events)


def test_busy_tenants_whom_nobody_suffers_from_are_left_alone(world: World) -> None:
    async def story() -> None:
        governor = Governor()
        async with world.governed(governor):
            await world.goes_on(governor, 1.2)
            await world.goes_on(governor, 0.8, latency_ms=5, hog=True)

    run(story)
    assert not world.acts


@pytest.mark.parametrize("age_seconds", [0.3, 60.0])
def test_a_process_that_is_found_late_is_counted_from_its_own_beginning(
    world: World, age_seconds: float
) -> None:
    monitor = ResourceMonitor()

    async def story() -> None:
        governor = Governor(monitor=monitor)
        async with world.governed(governor):
            await world.goes_on(governor, 1.2)
            began = int((clock_gettime(CLOCK_BOOTTIME) - age_seconds) * TICKS_PER_SECOND)
            agent = Source(Kind.AGENT, "noisy-0", "", 1, began)
            monitor.take(Sample(agent, monotonic_ns(), {"cpu_seconds": 0.6}))
            await world.goes_on(governor, 0.8, latency_ms=80)

    run(story)
    named = [e for e in world.events if isinstance(e, Sampled) and "culprit" in e.items]
    assert bool(named) == (age_seconds < 1)


def blames_the_slowest(usual: Use, now: Use) -> tuple[Blame, ...]:
    """The mutant: a threshold on latency, which finds the victim."""
    return (Blame("quiet-0", Resource.CPU, 1.0, 0.0, 0.0),)


def blames_two(usual: Use, now: Use) -> tuple[Blame, ...]:
    """The mutant: an innocent is throttled beside the culprit."""
    return tuple(Blame(t, Resource.CPU, 1.0, 0.0, 0.0) for t in ("quiet-1", "noisy-0"))


@pytest.mark.parametrize("mutant", [blames_the_slowest, blames_two])
def test_a_governor_that_touches_an_innocent_is_seen_by_its_verifier(
    world: World, monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., tuple[Blame, ...]]
) -> None:
    monkeypatch.setattr(detector, "blame", mutant)

    async def story() -> None:
        governor = Governor()
        async with world.governed(governor):
            await world.goes_on(governor, 1.2)
            await world.goes_on(
                governor, 5, latency_ms=80, hog=True, until=lambda: bool(world.quotas.own)
            )

    run(story)
    seen = history([], (opened(), *world.events))
    assert touched(seen, {"noisy-0"})
    assert named(seen) - {"noisy-0"}


@contextmanager
def enforcing(
    tmp_path: Path, quotas: FakeQuotas, containers: FakeContainers
) -> Generator[QuotaEnforcer]:
    lab = replace(lab_of(FakeLinks(), containers, {"noisy-0": "t-noisy"}), quotas=quotas)
    with Journal(tmp_path) as journal:
        yield QuotaEnforcer(Reach(lab, dict), journal, 0, clock_ns=lambda: 7)


def test_an_enforcer_undoes_the_last_first_and_leaves_what_others_have_changed(
    tmp_path: Path,
) -> None:
    quotas = FakeQuotas()
    containers = FakeContainers(table={"t-noisy": AgentProcess("app", 7, 100)}, respawn=False)

    async def story() -> None:
        with enforcing(tmp_path, quotas, containers) as held:
            assert await held.enforce(Cap("noisy-0", "cpu", 5.0), "why")
            assert await held.enforce(Cap("noisy-0", "requests", 5.0), "why")
            assert await held.enforce(KillAgent("noisy-0"), "why")
            quotas.own["noisy-0", "requests"] = 3.0  # an operator's doing, meanwhile
            await held.lift_all("over")

    anyio.run(story)
    assert quotas.own == {("noisy-0", "cpu"): 50.0, ("noisy-0", "requests"): 3.0}
    told = [e for e in read(tmp_path) if isinstance(e, Acted)]
    assert [e.action.split(" of ")[0] for e in told] == [
        "cap cpu", "cap requests", "kill the agent", "lifted: cap requests", "lifted: cap cpu",
    ]  # fmt: skip
    assert {e.tenant for e in told} == {"noisy-0"}
    assert all(e.reason for e in told)


def test_a_measure_that_is_in_place_is_not_taken_again(tmp_path: Path) -> None:
    async def story() -> None:
        with enforcing(tmp_path, FakeQuotas(), FakeContainers()) as held:
            for _ in range(2):
                assert await held.enforce(Cap("noisy-0", "cpu", 5.0), "why")
            await held.lift_all("over")

    anyio.run(story)
    told = [e.action for e in read(tmp_path) if isinstance(e, Acted)]
    assert told == ["cap cpu of noisy-0 at 5", "lifted: cap cpu of noisy-0 at 5"]


def test_what_cannot_be_done_is_told_and_is_no_failure(tmp_path: Path) -> None:
    async def story() -> None:
        with enforcing(tmp_path, FakeQuotas(), FakeContainers()) as held:
            assert not await held.enforce(Freeze("noisy-0"), "why")
            assert not await held.enforce(Cap("noisy-0", "cpu", 500.0), "why")
            await held.lift_all("over")

    anyio.run(story)
    told = [e.action for e in read(tmp_path) if isinstance(e, Acted)]
    assert all(action.startswith("could not") for action in told)


def test_what_cannot_be_undone_is_a_failure_after_all_the_rest_was_tried(tmp_path: Path) -> None:
    quotas = FakeQuotas()

    async def story() -> None:
        with enforcing(tmp_path, quotas, FakeContainers()) as held:
            await held.enforce(Cap("noisy-0", "cpu", 5.0), "why")
            await held.enforce(Cap("noisy-0", "requests", 5.0), "why")

            async def broken(tenant: str, kind: str, amount: float) -> float:
                if kind == "requests":
                    raise LabError("its door is shut")
                return await FakeQuotas.limit(quotas, tenant, kind, amount)

            quotas.limit = broken  # type: ignore[method-assign]
            with pytest.raises(LabError, match="door is shut"):
                await held.lift("noisy-0", "over")
            assert held.held == ("noisy-0",)

    anyio.run(story)
    assert quotas.own["noisy-0", "cpu"] == 50.0


def test_harder_steps_come_only_when_the_milder_ones_had_time_to_show() -> None:
    case, hog = Case("noisy-0"), (Blame("noisy-0", Resource.CPU, 1.0, 0.0, 0.0),)
    usual: Use = {}
    first = case.next(0.0, hog, usual)
    assert [type(step) for step in first] == [Demote, Cap]
    assert case.next(SETTLE_SECONDS * 0.9, hog, usual) == ()
    (second,) = case.next(SETTLE_SECONDS, hog, usual)
    assert second not in first
    assert case.next(SETTLE_SECONDS * SETTLE_FACTOR, hog, usual) == ()
    assert case.next(SETTLE_SECONDS * (SETTLE_FACTOR + 1), hog, usual)


def test_a_new_resource_begins_at_the_bottom_of_its_own_ladder_at_once() -> None:
    case, usual = Case("noisy-0"), dict[str, dict[Resource, float]]()
    case.next(0.0, (Blame("noisy-0", Resource.CPU, 1.0, 0.0, 0.0),), usual)
    (step,) = case.next(0.01, (Blame("noisy-0", Resource.REQUESTS, 500.0, 0.0, 0.0),), usual)
    assert step == Cap("noisy-0", "requests", 5.0)


def test_who_runs_into_caps_or_uses_much_is_not_calm() -> None:
    assert presses({Resource.CPU: 1.0}, {}, 0.0)
    assert presses({}, {}, 10.0)
    assert not presses({Resource.CPU: 0.05}, {}, 0.5)
    case = Case("noisy-0")
    assert not case.calm(0.0, presses=False)
    assert not case.calm(1.0, presses=True)
    assert not case.calm(1.1, presses=False)
    assert case.calm(3.0, presses=False)
