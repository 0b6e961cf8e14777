"""The load generator as a whole: a real child process against a real WebSocket server."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from time import monotonic_ns

import anyio
import numpy as np
import pytest

from lab import journal
from lab.actions import List, Read, Step, Work, Write
from lab.arrivals import Gate
from lab.errors import LabError, UsageError
from lab.history import Op, Outcome
from lab.load.generator import Generator, enough_for, generating
from lab.load.service import service_times_ms
from lab.load.wire import GeneratorPlan, Health, PhasePlan
from lab.system import Site, Tenant
from lab.workload import Behaviour, Workload
from tests.fakes import behaviours
from tests.fakes.server import FakeBackend, fake_backend

CHAT = Workload("quiet", behaviours.chat, 50.0, frozenset({Write, Read, List}))
WORK = Workload("quiet", behaviours.work, 50.0, frozenset({Work}))


@dataclass
class Scene:
    """A generator that is connected to a fake backend, and what it has told so far."""

    backend: FakeBackend
    generator: Generator
    ops: list[Op] = field(default_factory=list[Op])

    async def play(
        self, name: str, seconds: float, *workloads: Workload, gate: Gate | None = None
    ) -> None:
        """Play a phase to its end."""
        start_ns = monotonic_ns() + 50_000_000
        gates = {} if gate is None else {0: gate}
        await self.generator.play(PhasePlan(name, start_ns, seconds, workloads, gates))
        await anyio.sleep(seconds + 0.05)

    async def told(self, enough: Callable[[list[Op]], bool]) -> None:
        """Wait until `enough` of what was told."""
        with anyio.fail_after(10):
            while not enough(self.ops):  # noqa: ASYNC110 - the engine sets no event of ours
                await anyio.sleep(0.01)

    @property
    def errors(self) -> Counter[str]:
        return Counter(op.error for op in self.ops)


@asynccontextmanager
async def scene(
    tenants: int = 4,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    workers: int = 1,
) -> AsyncGenerator[Scene]:
    notes = journal.Journal(folder) if folder else None
    async with AsyncExitStack() as stack:
        if notes is not None:
            stack.enter_context(notes)
        backend = await stack.enter_async_context(fake_backend())
        everybody = tuple(Tenant(f"quiet-{n}", f"t-{n}", "quiet") for n in range(tenants))
        site = backend.site_with(**(variables or {}))
        plan = GeneratorPlan(backend.driver_file, site, everybody, 1, monotonic_ns())
        ops: list[Op] = []
        generator = await stack.enter_async_context(
            generating(plan, on_ops=ops.extend, journal=notes, workers=workers)
        )
        assert (await generator.connect()).count == tenants
        yield Scene(backend, generator, ops)


def play(story: Callable[[Scene], Awaitable[None]], tenants: int = 4, **variables: str) -> None:
    async def played() -> None:
        async with scene(tenants, variables=variables) as one:
            await story(one)

    anyio.run(played)


def test_all_that_was_due_is_told_once_and_answered() -> None:
    async def story(one: Scene) -> None:
        await one.play("calm", 1.0, CHAT)
        health = await one.generator.finish(drain_seconds=1)
        assert 120 < len(one.ops) < 280
        assert len({op.id for op in one.ops}) == len(one.ops) == health.due == health.sent
        assert {op.outcome for op in one.ops} == {Outcome.OK}
        assert {op.session for op in one.ops} == {1}
        assert all(op.due_ns <= op.sent_ns <= op.done_ns for op in one.ops)
        written = {op.sent for op in one.ops if op.action == "write"}
        assert any(text in op.received for op in one.ops if op.action == "read" for text in written)
        assert not one.backend.census()["sessions"]

    play(story)


def test_the_same_seed_offers_the_same_load_and_operations_come_while_it_runs() -> None:
    async def once() -> list[tuple[str, str, str, int]]:
        async with scene() as one:
            start_ns = monotonic_ns() + 50_000_000
            await one.generator.play(PhasePlan("calm", start_ns, 1.0, (CHAT,)))
            await one.told(lambda ops: len(ops) > 20)
            assert monotonic_ns() < start_ns + 900_000_000
            await anyio.sleep(max(0.0, (start_ns - monotonic_ns()) / 1e9 + 1.05))
            await one.generator.finish(drain_seconds=1)
            first_ns = min(op.due_ns for op in one.ops)
            return sorted((op.id, op.action, op.sent, op.due_ns - first_ns) for op in one.ops)

    assert anyio.run(once) == anyio.run(once)


def test_two_workers_offer_the_load_of_one_and_answer_for_it_together() -> None:
    async def offered(workers: int) -> tuple[set[tuple[str, str, str, int]], Health, int]:
        async with scene(workers=workers) as one:
            await one.play("calm", 0.5, CHAT)
            health = await one.generator.finish(drain_seconds=1)
            assert {op.outcome for op in one.ops} == {Outcome.OK}
            first_ns = min(op.due_ns for op in one.ops)
            steps = {(op.id, op.action, op.sent, op.due_ns - first_ns) for op in one.ops}
            assert health.sent == len(steps) == len(one.ops)
            return steps, health, len(set(one.generator.pids))

    (alone, _, _), (divided, health, processes) = anyio.run(offered, 1), anyio.run(offered, 2)
    assert alone == divided
    assert (health.workers, processes) == (2, 2)
    assert 0 < health.lateness_p50_ms <= health.lateness_p99_ms <= health.lateness_max_ms


def test_many_tenants_get_several_workers_on_half_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    asked = (1, 2_500, 2_501, 10_000, 100_000)
    assert [enough_for(tenants) for tenants in asked] == [1, 1, 2, 4, 4]


@pytest.mark.parametrize("text", ["many", "-1", "65", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("LAB_WORKERS", text)

    async def story() -> None:
        plan = GeneratorPlan(Path("driver.py"), Site({}, {}, {}), (), 1, 0)
        async with generating(plan, on_ops=print):
            pytest.fail("it began")

    with pytest.raises(UsageError, match="LAB_WORKERS"):
        anyio.run(story)


def test_one_worker_of_two_that_dies_is_one_error() -> None:
    async def story() -> None:
        async with scene(workers=2) as one:
            await one.play("calm", 0.2, CHAT)
            os.kill(one.generator.pids[1], signal.SIGKILL)
            await anyio.sleep(10)
            pytest.fail("the run went on")

    with pytest.raises(LabError, match="the load generator ended with -9"):
        anyio.run(story)


def test_an_interrupted_run_drains_and_hangs_up_in_good_manners() -> None:
    """What was in flight is told with its answer, nothing new is started, no session is left."""

    async def story() -> tuple[list[Op], int, dict[str, tuple[str, ...]]]:
        async with fake_backend() as backend:
            backend.manners.delay_ms = 300
            tenants = tuple(Tenant(f"quiet-{n}", f"t-{n}", "quiet") for n in range(4))
            plan = GeneratorPlan(backend.driver_file, backend.site, tenants, 1, monotonic_ns())
            ops: list[Op] = []
            slow = replace(CHAT, per_second=3.0)
            with anyio.CancelScope() as interrupted:
                async with generating(plan, on_ops=ops.extend) as generator:
                    await generator.connect()
                    await generator.play(PhasePlan("long", monotonic_ns(), 60.0, (slow,)))
                    with anyio.fail_after(10):
                        while not backend.seen.total():  # noqa: ASYNC110 - no event of ours
                            await anyio.sleep(0.01)
                    os.kill(generator.pid, signal.SIGTERM)  # ignored: the lab drains its workers
                    interrupted.cancel()
            return ops, backend.seen.total(), backend.census()

    ops, seen, census = anyio.run(story)
    assert len(ops) == seen > 0
    assert {op.outcome for op in ops} == {Outcome.OK}
    assert not census["sessions"]


def test_a_gated_workload_is_silent_outside_its_windows() -> None:
    async def story(one: Scene) -> None:
        await one.play("gated", 1.0, CHAT, gate=((0.2, 0.4), (0.6, 0.7)))
        await one.generator.finish(drain_seconds=1)
        rising = sorted(op.due_ns for op in one.ops)
        gaps = [after - before for before, after in pairwise(rising)]
        assert rising[-1] - rising[0] < 500_000_000
        assert [gap for gap in gaps if gap > 150_000_000] == [max(gaps)]

    play(story)


def test_an_action_beyond_the_bound_is_dropped_on_record_and_never_delayed() -> None:
    async def story(one: Scene) -> None:
        await one.play("flood", 0.5, replace(WORK, in_flight_max=3))
        health = await one.generator.finish(drain_seconds=0.1)
        per_tenant = Counter(op.tenant for op in one.ops if op.error == "censored")
        assert set(per_tenant.values()) == {3}
        assert health.dropped == one.errors["dropped"] > 10
        assert health.censored == one.errors["censored"] == 12
        assert health.due == health.dropped + health.censored == len(one.ops)
        dropped = [op for op in one.ops if op.error == "dropped"]
        assert all(op.outcome is Outcome.FAIL and op.sent_ns == 0 for op in dropped)

    play(story)


def test_a_refusal_is_a_definite_no_and_silence_is_not() -> None:
    async def story(one: Scene) -> None:
        one.backend.manners.refuse = frozenset({"write"})
        one.backend.manners.silent = frozenset({"read"})
        await one.play("rude", 0.5, replace(CHAT, deadline_seconds=0.1))
        await one.generator.finish(drain_seconds=1)
        for op in one.ops:
            if op.action == "write":
                assert (op.outcome, op.error) == (Outcome.FAIL, "refused: not now")
            if op.action == "read":
                assert (op.outcome, op.error) == (Outcome.INFO, "timeout")

    play(story)


def test_a_driver_that_forgets_its_deadline_is_ended_by_the_engine() -> None:
    async def story(one: Scene) -> None:
        one.backend.manners.silent = frozenset({"read"})
        await one.play("deaf", 0.3, replace(CHAT, deadline_seconds=0.05))
        await one.generator.finish(drain_seconds=5)
        reads = [op for op in one.ops if op.action == "read"]
        assert {op.error for op in reads} == {"timeout"}
        assert max(op.done_ns - op.sent_ns for op in reads) < 2_000_000_000

    play(story, DEAF="read")


def test_a_broken_session_is_reopened_and_all_it_carried_is_unknown() -> None:
    async def story(one: Scene) -> None:
        one.backend.manners.silent = frozenset({"work"})
        await one.play("before", 0.2, WORK)
        await one.play("during", 0.2, WORK)
        one.backend.drop("t-0")
        await one.told(lambda ops: any(op.error == "reset" for op in ops))
        await one.told(lambda _: len(one.backend.sessions["t-0"]) == 1)
        await one.play("after", 0.3, CHAT)
        await one.generator.finish(drain_seconds=0.5)
        lost = [op for op in one.ops if op.error == "reset"]
        assert {op.tenant for op in lost} == {"quiet-0"}
        assert {op.phase for op in lost} == {"before", "during"}
        after = {op.tenant: op.session for op in one.ops if op.phase == "after"}
        assert after == {"quiet-0": 2, "quiet-1": 1, "quiet-2": 1, "quiet-3": 1}

    play(story)


def test_while_nobody_can_connect_actions_fail_at_once_and_nobody_waits() -> None:
    async def story(one: Scene) -> None:
        one.backend.manners.shut = True
        one.backend.manners.hang_up = frozenset({"write", "read", "list"})
        await one.play("shut", 0.5, CHAT)
        one.backend.manners.shut, one.backend.manners.hang_up = False, frozenset()
        await one.told(lambda _: sum(map(len, one.backend.sessions.values())) == 4)
        await one.play("open", 0.3, CHAT)
        health = await one.generator.finish(drain_seconds=1)
        refused = [op for op in one.ops if op.error == "not connected"]
        assert len(refused) == health.not_connected > 20
        assert all(op.outcome is Outcome.FAIL and op.sent_ns == 0 for op in refused)
        assert {op.error for op in one.ops if op.phase == "open"} == {""}
        assert health.phases["shut"].not_connected == len(refused)

    play(story)


def test_an_abandoned_action_drops_its_session_and_the_tenant_comes_back() -> None:
    async def story(one: Scene) -> None:
        leaver = replace(WORK, behaviour=behaviours.abandoned, per_second=5.0)
        await one.play("leaving", 1.0, leaver)
        await one.generator.finish(drain_seconds=1)
        assert one.errors["abandoned"] > 3
        assert {op.action for op in one.ops} == {"work"}
        assert max(op.session for op in one.ops) > 1
        assert set(one.errors) <= {"abandoned", "reset", "not connected"}

    play(story)


def test_a_cut_phase_starts_nothing_further_and_the_next_one_plays() -> None:
    async def story(one: Scene) -> None:
        await one.generator.play(PhasePlan("long", monotonic_ns(), 3600.0, (CHAT,)))
        await one.told(lambda ops: len(ops) > 5)
        await one.generator.cut("long")
        cut_ns = monotonic_ns()
        await one.play("next", 0.3, CHAT)
        health = await one.generator.finish(drain_seconds=1)
        epoch_ns = one.ops[0].sent_ns
        assert epoch_ns < cut_ns
        assert health.phases["long"].seconds < 5
        assert health.phases["next"].sent == sum(op.phase == "next" for op in one.ops) > 10
        assert health.phases["next"].cpu_seconds > 0

    play(story)


def test_a_phase_cannot_be_played_twice() -> None:
    async def story(one: Scene) -> None:
        await one.play("same", 0.1, CHAT)
        with pytest.raises(LabError, match="played twice"):
            await one.play("same", 0.1, CHAT)

    with pytest.raises(LabError, match="played twice"):
        play(story)


def test_who_cannot_connect_is_named_with_the_reason() -> None:
    async def story() -> None:
        async with fake_backend() as backend:
            backend.manners.shut = True
            tenants = (Tenant("quiet-0", "t-0", "quiet"),)
            plan = GeneratorPlan(backend.driver_file, backend.site, tenants, 1, monotonic_ns())
            async with generating(plan, on_ops=lambda _: None) as generator:
                connected = await generator.connect()
        assert connected.count == 0
        (failed,) = connected.failed
        assert failed.startswith("quiet-0: reset")
        assert "503" in failed

    anyio.run(story)


def _nested() -> Behaviour:
    def nested(tenant: Tenant, rng: Random) -> Iterator[Step]:
        return behaviours.chat(tenant, rng)

    return nested


def test_a_workload_that_cannot_travel_or_has_no_tenants_is_refused() -> None:
    async def story(one: Scene) -> None:
        with pytest.raises(LabError, match="top level of its module"):
            await one.play("lambda", 1, replace(CHAT, behaviour=_nested()))
        with pytest.raises(LabError, match="cohort nobody has no tenants"):
            await one.play("nobody", 1, replace(CHAT, cohort="nobody"))
        await one.play("fine", 0.1, CHAT)

    play(story)


def test_a_bug_of_the_driver_ends_the_run_and_names_its_file() -> None:
    async def story(one: Scene) -> None:
        await one.play("bug", 30, CHAT)
        pytest.fail("the run went on")

    with pytest.raises(LabError, match="KeyError") as caught:
        play(story, BUG="write")
    assert "driver.py" in str(caught.value)


def test_a_worker_that_dies_is_an_error_with_its_last_words() -> None:
    async def story(one: Scene) -> None:
        await one.play("death", 30, CHAT)
        pytest.fail("the run went on")

    with pytest.raises(LabError, match="ended with 3: Fatal: the driver took the process with it"):
        play(story, DIE="write")


def test_a_bug_of_a_behaviour_ends_the_run_with_its_exception() -> None:
    async def story(one: Scene) -> None:
        await one.play("bug", 30, replace(CHAT, behaviour=behaviours.buggy))
        pytest.fail("the run went on")

    with pytest.raises(LabError, match="ended with 1: KeyError: 'no such step'"):
        play(story)


def test_an_error_in_the_block_comes_out_as_it_is_and_the_worker_ends(tmp_path: Path) -> None:
    class OwnError(Exception):
        pass

    async def story() -> None:
        async with scene(folder=tmp_path) as one:
            await one.generator.play(PhasePlan("long", monotonic_ns(), 60.0, (CHAT,)))
            raise OwnError

    with pytest.raises(OwnError):
        anyio.run(story)
    assert not _alive(_worker(tmp_path))


def test_the_workers_process_is_journalled_and_ignores_an_interrupt(tmp_path: Path) -> None:
    async def story() -> Health:
        async with scene(folder=tmp_path) as one:
            pid, ticks = _worker(tmp_path)
            assert _ticks(pid) == ticks
            os.kill(pid, signal.SIGINT)
            await one.play("on", 0.2, CHAT)
            return await one.generator.finish(drain_seconds=1)

    assert anyio.run(story).sent > 0
    assert not _alive(_worker(tmp_path))


def _worker(folder: Path) -> tuple[int, str]:
    (created,) = (e for e in journal.read(folder) if isinstance(e, journal.Created))
    pid, ticks = created.name.split(":")
    return int(pid), ticks


def _ticks(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def _alive(worker: tuple[int, str]) -> bool:
    return Path(f"/proc/{worker[0]}").exists()


def test_a_frozen_server_is_seen_from_the_due_time_though_it_serves_fast() -> None:
    """Frozen 500 ms of every 2 s: response-time p95 >= 300 ms, service-time p95 < 5 ms.

    A host too busy to serve in 5 ms even while nothing is frozen is held to its own calm.
    """
    paced = replace(CHAT, per_second=20.0)

    async def story(one: Scene) -> None:
        await one.play("calm", 2.0, paced)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.backend.stutter, 0.5, 2.0)
            await one.play("frozen", 6.0, paced)
            tasks.cancel_scope.cancel()
        one.backend.thaw()
        await one.generator.finish(drain_seconds=2)
        calm, frozen = ([op for op in one.ops if op.phase == p] for p in ("calm", "frozen"))
        assert {op.outcome for op in one.ops} == {Outcome.OK}
        assert _p95(op.latency_ms for op in frozen) >= 300
        assert _p95(service_times_ms(frozen)) < max(5.0, 3 * _p95(service_times_ms(calm)))

    play(story, tenants=10)


def _p95(values: Iterable[float]) -> float:
    return float(np.quantile(list(values), 0.95))
