# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Deficit round robin serves tenants in turn; the gate never lets one hold more than its share."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform.fair import QUANTUM, DeficitRoundRobin, Gate
from reference_platform.problems import Problem

costs = st.lists(
    st.tuples(st.sampled_from("abcd"), st.floats(min_value=0.1, max_value=100)), max_size=60
)


def shares(connections: int, queue: int = 64) -> Callable[[str], tuple[int, int]]:
    return lambda tenant: (connections, queue)


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


@given(
    st.lists(st.floats(0.1, 50.0), min_size=30, max_size=60),
    st.lists(st.floats(0.1, 50.0), min_size=30, max_size=60),
    st.integers(1, 25),
)
def test_two_busy_tenants_get_the_same_work_whatever_their_pieces_cost(
    ours: list[float], theirs: list[float], turns: int
) -> None:
    """Shreedhar and Varghese, lemma 2 and theorem 1: the difference is bounded for ever."""
    queue: DeficitRoundRobin[float] = DeficitRoundRobin()
    for tenant, costs in (("ours", ours), ("theirs", theirs)):
        for cost in costs:
            queue.push(tenant, cost, cost)
    done = {"ours": 0.0, "theirs": 0.0}
    for _ in range(turns):  # fewer than either has, so that both are busy throughout
        found = queue.pop(always)
        assert found is not None
        done[found[0]] += found[1]
        assert abs(done["ours"] - done["theirs"]) <= 2 * max(*ours, *theirs) + QUANTUM


@given(costs, st.data())
def test_what_was_taken_back_never_comes_out(
    items: list[tuple[str, float]], data: st.DataObject
) -> None:
    queue: DeficitRoundRobin[int] = DeficitRoundRobin()
    for n, (tenant, cost) in enumerate(items):
        queue.push(tenant, cost, n)
    gone = data.draw(st.sets(st.sampled_from(range(len(items)))) if items else st.just(set[int]()))
    for n in gone:
        queue.discard(*items[n], n)
        queue.discard(*items[n], n)  # a second time it is not there
    assert len(queue) == len(items) - len(gone)
    out: set[int] = set()
    while found := queue.pop(always):
        out.add(found[1])
    assert out == set(range(len(items))) - gone


def test_a_tenant_that_may_not_run_is_passed_over_and_kept() -> None:
    queue: DeficitRoundRobin[str] = DeficitRoundRobin()
    queue.push("full", 1, "later")
    assert queue.pop(lambda tenant: tenant != "full") is None
    queue.push("free", 1, "now")
    assert queue.pop(lambda tenant: tenant != "full") == ("free", "now")
    assert queue.pop(always) == ("full", "later")


def test_one_tenant_cannot_take_all_slots_of_the_gate() -> None:
    async def body() -> None:
        gate, inside, release = Gate(4, shares(2)), list[str](), anyio.Event()

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
        gate, entered = Gate(1, shares(1)), list[str]()

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


def test_the_queue_is_bounded_for_each_tenant_and_for_all() -> None:
    async def body() -> None:
        gate = Gate(1, shares(1, queue=2), queue_max=3)

        async def wait(tenant: str) -> None:
            async with gate.slot(tenant, 1.0):
                pass

        async with anyio.create_task_group() as group, gate.slot("first", 1.0):
            for tenant in ("noisy", "noisy", "quiet"):
                group.start_soon(wait, tenant)
                await anyio.wait_all_tasks_blocked()
                if gate.counters()["slots_waited_for"] == 2:
                    with pytest.raises(Problem, match="queue_full"):
                        await wait("noisy")
            with pytest.raises(Problem, match="queue_full") as full:
                await wait("another")
            assert full.value.retry_after_ms > 0
        assert gate.counters() == {"slots_free": 1, "slots_waited_for": 0}

    anyio.run(body)


def test_who_gives_up_waiting_leaves_room_in_the_queue_at_once() -> None:
    async def body() -> None:
        gate = Gate(1, shares(1, queue=1))
        async with gate.slot("busy", 1.0):
            for _ in range(3):
                with anyio.move_on_after(0.001):
                    async with gate.slot("busy", 1.0):
                        raise AssertionError("there was no slot")
            assert gate.counters() == {"slots_free": 0, "slots_waited_for": 0}

    anyio.run(body)
