"""Faults that a stack is fitted for, on real disks and clocks; two bare stores for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from anyio import create_task_group
from anyio.from_thread import BlockingPortal, start_blocking_portal

from benchmarks.powercuts import STORES, Store, cut, stores
from faults.clock import Skew
from faults.disk import Fill, PowerCut, ReadOnly
from faults.stress import CpuStress, IoThrottle, MemoryHog, OomKill
from lab.engine.belongings import residue
from lab.errors import UsageError
from lab.fault import Fault, Window
from lab.hands.real.containers import RunContainers
from lab.seeds import stream
from lab.stack.fittings import Fitting
from lab.stack.standing import Stack
from tests.conformance import Look, Subject, check_fault

pytestmark = pytest.mark.docker
T = TypeVar("T")
HERE: tuple[Callable[[], Fault], ...] = (
    lambda: CpuStress("redis", 2),
    lambda: Fill("redis", 100),
    lambda: IoThrottle("redis", 100),
    lambda: MemoryHog("redis", 20),
    lambda: OomKill("redis"),
    lambda: PowerCut("redis"),
    lambda: ReadOnly("redis"),
    lambda: Skew("redis", -3600.0),
)


@dataclass(frozen=True)
class Held:
    """A standing stack, and `do` to run a coroutine function on its loop."""

    stack: Stack
    folder: Path
    portal: BlockingPortal

    def do(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run `work` where the stack lives."""
        return self.portal.call(work)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Held]:
    folder = tmp_path_factory.mktemp("durable")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(stores(folder, Fitting.CLOCKS)) as stack,
    ):
        yield Held(stack, folder, portal)


def told(make: Callable[[], Fault]) -> str:
    return repr(make())


@pytest.mark.parametrize("make", HERE, ids=told)
def test_every_fault_keeps_the_contract(make: Callable[[], Fault], up: Held) -> None:
    lab, containers = up.stack.lab, up.stack.containers

    async def look() -> Look:
        now = await containers.state("redis")
        state: dict[str, object] = {"redis": (now.running, now.paused, now.limits)}
        state["disk"] = await lab.disks.state("redis")
        if now.running and not now.paused:
            state["clock"] = round(await lab.clocks.offset_seconds("redis"))
            state["burdens"] = await _burdens(containers)
        return Look(state, {"redis": now.started})

    @asynccontextmanager
    async def subject() -> AsyncGenerator[Subject]:
        yield Subject(lab, look)

    up.do(lambda: check_fault(make, subject))


async def _burdens(containers: RunContainers) -> set[str]:
    table = await containers.process_table("redis")
    return {word for row in table for word in row.args if word.startswith("crosstalk-")}


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(store: Store, up: Held) -> None:
    random = stream(3, store.name)
    cuts = [up.do(lambda: cut(store, up.stack, up.folder, random)) for _ in range(2)]
    assert all(each.acknowledged for each in cuts)
    lost = sum(each.lost for each in cuts)
    assert lost > 0 if store.careless else lost == 0


def test_a_service_without_a_disk_or_clock_is_refused_in_one_line(up: Held) -> None:
    with pytest.raises(UsageError, match=r"`postgres` has no clock of its own.*redis"):
        up.do(lambda: Skew("postgres", 60.0).inject(up.stack.lab))
    with pytest.raises(UsageError, match="has no disk of its own"):
        up.do(lambda: Fill("keeper").inject(up.stack.lab))


def test_a_service_without_a_memory_limit_is_never_run_out_of_memory(up: Held) -> None:
    with pytest.raises(UsageError, match="has no memory limit"):
        up.do(lambda: OomKill("postgres").inject(up.stack.lab))


def test_loop_devices_go_with_the_run(tmp_path: Path) -> None:
    def held() -> set[str]:
        blocks = Path("/sys/block").glob("loop*/loop/backing_file")
        return {block.parent.parent.name for block in blocks}

    before = held()
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(stores(tmp_path)) as stack:
            assert len(held() - before) == 2
            run = stack.start.run
        assert residue(run) == ()
    assert held() == before


def test_a_skew_is_confirmed_by_the_services_own_processes_and_by_how_far_they_are_off(
    up: Held,
) -> None:
    fault, lab = Skew("redis", 120.0), up.stack.lab
    before = up.do(lambda: fault.observe(lab))
    up.do(lambda: fault.inject(lab))
    after = up.do(lambda: fault.observe(lab))
    up.do(lambda: fault.heal(lab))
    grown = {name: after[name] - before[name] for name in after}
    effect = fault.effect(Window(1.0, (), {}), Window(1.0, (), grown))
    assert effect.bit
    assert effect.observed["offset_seconds"] == pytest.approx(120.0, abs=2.0)


def test_two_disks_are_worked_on_at_once_and_none_stays_mounted(up: Held) -> None:
    disks = up.stack.lab.disks

    async def both() -> None:
        async with create_task_group() as tasks:
            for service in ("redis", "postgres") * 3:
                tasks.start_soon(disks.state, service)

    up.do(both)
    keeper = up.stack.start.ids["keeper"]
    _, mounts = up.stack.start.engine.execute(keeper, ["cat", "/proc/mounts"])
    assert b"/crosstalk/look" not in mounts


def test_a_service_without_a_memory_limit_is_never_made_to_hold_memory(up: Held) -> None:
    with pytest.raises(UsageError, match="has no memory limit"):
        up.do(lambda: MemoryHog("postgres", 10).inject(up.stack.lab))
