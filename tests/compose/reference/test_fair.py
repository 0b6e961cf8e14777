# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Deficit round robin serves tenants in turn; the gate never lets one hold more than its share."""

from __future__ import annotations

import anyio
from hypothesis import given
from hypothesis import strategies as st
from reference_platform.fair import DeficitRoundRobin, Gate

costs = st.lists(
    st.tuples(st.sampled_from("abcd"), st.floats(min_value=0.1, max_value=100)), max_size=60
)


def always(tenant: str) -> bool:
    return True


@given(costs)
def test_everything_that_is_queued_comes_out_once_and_in_order_per_tenant(
    items: list[tuple[str, float]],
) -> None:
    queue: DeficitRoundRobin[int] = DeficitRoundRobin()
    for n, (tenant, cost) in enumerate(items):
        queue.push(tenant, cost, n)
    out: list[tuple[str, int]] = []
    while found := queue.pop(always):
        out.append(found)
    assert sorted(n for _, n in out) == list(range(len(items)))
    for tenant in "abcd":
        mine = [n for owner, n in out if owner == tenant]
        assert mine == sorted(mine)
    assert len(queue) == 0


def test_a_queue_of_heavy_work_does_not_delay_a_light_one_by_more_than_a_turn() -> None:
    queue: DeficitRoundRobin[str] = DeficitRoundRobin(quantum=5)
    for n in range(50):
        queue.push("noisy", 40, f"heavy-{n}")
    queue.push("quiet", 1, "light")
    assert queue.pop(always) == ("quiet", "light")


def test_a_tenant_that_may_not_run_is_passed_over_and_kept() -> None:
    queue: DeficitRoundRobin[str] = DeficitRoundRobin()
    queue.push("full", 1, "later")
    assert queue.pop(lambda tenant: tenant != "full") is None
    queue.push("free", 1, "now")
    assert queue.pop(lambda tenant: tenant != "full") == ("free", "now")
    assert queue.pop(always) == ("full", "later")


def test_one_tenant_cannot_take_all_slots_of_the_gate() -> None:
    async def body() -> None:
        gate, inside, release = Gate(slots=4, per_tenant=2), list[str](), anyio.Event()

        async def hold(tenant: str) -> None:
            async with gate.slot(tenant, 1.0):
                inside.append(tenant)
                await release.wait()

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(hold, "noisy")
            group.start_soon(hold, "quiet")
            await anyio.wait_all_tasks_blocked()
            assert sorted(inside) == ["noisy", "noisy", "quiet"]
            release.set()
        assert len(inside) == 11
        assert gate.counters() == {"slots_free": 4, "slots_waited_for": 0}

    anyio.run(body)


def test_a_waiter_that_is_cancelled_leaves_its_slot_to_the_next() -> None:
    async def body() -> None:
        gate, entered = Gate(slots=1, per_tenant=1), list[str]()

        async def wait(tenant: str) -> None:
            async with gate.slot(tenant, 1.0):
                entered.append(tenant)

        async with anyio.create_task_group() as group, gate.slot("first", 1.0):
            with anyio.move_on_after(0):
                await wait("given-up")
            group.start_soon(wait, "next")
            await anyio.wait_all_tasks_blocked()
        assert entered == ["next"]
        assert gate.counters() == {"slots_free": 1, "slots_waited_for": 0}

    anyio.run(body)
