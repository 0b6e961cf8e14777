"""Every fault keeps the contract on real containers; one stack for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

import pytest

from faults.containers import CpuQuota, Kill, MemoryLimit, Pause, PidsLimit
from lab.actions import Write
from lab.errors import LabError
from lab.fault import Fitted
from lab.hands import AgentProcess
from lab.healing import residue
from lab.stack.hands import hands
from tests.conformance import Look, Subject, check_fault
from tests.docker.standing import Held, fresh_run, held, two_sessions
from tests.faults.examples import EXAMPLES, Make, told

pytestmark = pytest.mark.docker
Limiting = CpuQuota | MemoryLimit | PidsLimit
SERVICES = ("app", "redis")
ELSEWHERE = {"faults.tenants", "faults.netns"}
ON_ALL_SYSTEMS = [
    make
    for make in EXAMPLES
    if type(make()).__module__ not in ELSEWHERE and not isinstance(make(), Fitted)
]
"""The smallest system has no agents; what works on packets is in test_netns.py, and what a stack
has to be fitted for in test_fittings.py."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Held]:
    with held(tmp_path_factory.mktemp("faults"), fresh_run()) as stack:
        yield stack


@pytest.mark.parametrize("make", ON_ALL_SYSTEMS, ids=told)
def test_every_fault_keeps_the_contract(make: Make, up: Held) -> None:
    links, containers, start = up.stack.links, up.stack.containers, up.stack.start
    fresh = hands(start.engine, links, start.ids, up.run, start.layout)

    async def look() -> Look:
        state: dict[str, object] = {"links": await links.toxics()}
        state["hands"] = await residue.of_hands(up.stack.lab)
        births: dict[str, object] = {}
        for name in SERVICES:
            now = await containers.state(name)
            state[name] = (now.running, now.paused, now.limits)
            births[name] = now.started
        return Look(state, births)

    @asynccontextmanager
    async def lab() -> AsyncGenerator[Subject]:
        yield Subject(up.stack.lab, look, fresh)

    up.do(lambda: check_fault(make, lab))


KERNEL = {
    CpuQuota("redis", 0.25): ("cpu/cpu.cfs_quota_us", "cpu.max", {"25000", "25000 100000"}),
    MemoryLimit("redis", 64): ("memory/memory.limit_in_bytes", "memory.max", {str(2**26)}),
    PidsLimit("app", 40): ("pids/pids.max", "pids.max", {"40"}),
}
"""Where the kernel keeps a limit with cgroup v1, and with v2, and what stands there."""


@pytest.mark.parametrize("fault", KERNEL, ids=repr)
def test_a_limit_reaches_the_kernel_and_leaves_it_again(fault: Limiting, up: Held) -> None:
    v1, v2, wanted = KERNEL[fault]
    command = f"cd /sys/fs/cgroup; cat {v1} 2>/dev/null || cat {v2}"
    ids = up.stack.start.ids

    def inside() -> str:
        _, output = up.stack.start.engine.execute(ids[fault.service], ["sh", "-c", command])
        return output.decode().strip()

    lab = up.stack.lab
    before = inside()
    up.do(lambda: fault.inject(lab))
    assert inside() in wanted
    up.do(lambda: fault.heal(lab))
    assert inside() == before


def test_a_service_that_ignores_a_signal_runs_on_and_that_is_no_error(up: Held) -> None:
    fault, lab = Kill("redis", "SIGHUP"), up.stack.lab
    before = up.do(lambda: up.stack.containers.state("redis"))
    up.do(lambda: fault.inject(lab))
    up.do(lambda: fault.heal(lab))
    assert up.do(lambda: up.stack.containers.state("redis")) == before


def test_the_processes_of_a_frozen_service_are_unknown_and_not_none(up: Held) -> None:
    fault, containers = Pause("redis"), up.stack.containers
    up.do(lambda: fault.inject(up.stack.lab))
    try:
        with pytest.raises(LabError, match="cannot be read"):
            up.do(lambda: containers.process_table("redis"))
        with pytest.raises(LabError, match="cannot be signalled"):
            up.do(lambda: containers.kill_process(AgentProcess("redis", 1, 1), 0))
    finally:
        up.do(lambda: fault.heal(up.stack.lab))
    up.do(lambda: containers.kill_process(AgentProcess("redis", 4_000_000, 1), 9))
    assert up.do(lambda: containers.process_table("redis"))


def test_the_system_serves_again_after_all_of_them(up: Held) -> None:
    async def story() -> None:
        driver, calm, loud = await two_sessions(up.stack, "after")
        await calm.perform(Write("k", "v"), op="w", deadline_seconds=3)
        await calm.close()
        await loud.close()
        await driver.close()

    up.do(story)


def test_the_interposer_is_no_service(up: Held) -> None:
    async def kill() -> None:
        await up.stack.containers.kill("toxiproxy", 9)

    with pytest.raises(LabError, match="no service `toxiproxy`"):
        up.do(kill)
