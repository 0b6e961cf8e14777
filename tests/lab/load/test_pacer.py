"""Pacers: never early, and they let the loop have its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns

import anyio
import pytest

from lab.load.pacer import LoopPacer, Pacer, TimerPacer, until

pytestmark = pytest.mark.usefixtures("each_loop")

PACERS = [
    LoopPacer,
    pytest.param(TimerPacer, marks=pytest.mark.skipif("sys.platform != 'linux'")),
]


@pytest.mark.parametrize("make", PACERS)
def test_no_wait_ends_early(make: Callable[[], Pacer]) -> None:
    async def early() -> list[int]:
        pace = make()
        start = monotonic_ns()
        late: list[int] = []
        for due_ns in range(start, start + 100_000_000, 700_001):
            await until(pace, due_ns)
            late.append(monotonic_ns() - due_ns)
        pace.close()
        return [ns for ns in late if ns < 0]

    assert anyio.run(early) == []


@pytest.mark.parametrize("make", PACERS)
def test_a_schedule_that_is_far_behind_does_not_starve_the_loop(
    make: Callable[[], Pacer],
) -> None:
    async def turns() -> int:
        pace = make()
        turned = 0

        async def turn() -> None:
            nonlocal turned
            while True:
                await asyncio.sleep(0)
                turned += 1

        other = asyncio.create_task(turn())
        rest = iter(range(100))
        await pace.run(lambda: next(rest, None))
        other.cancel()
        pace.close()
        return turned

    assert anyio.run(turns) >= 50


@pytest.mark.parametrize("make", PACERS)
def test_what_a_turn_raises_comes_out_of_the_run(make: Callable[[], Pacer]) -> None:
    async def run() -> None:
        pace = make()
        try:
            await pace.run(lambda: 1 // 0)
        finally:
            pace.close()

    with pytest.raises(ZeroDivisionError):
        anyio.run(run)


@pytest.mark.parametrize("make", PACERS)
def test_a_run_that_was_cancelled_takes_no_further_turn(make: Callable[[], Pacer]) -> None:
    async def run() -> tuple[int, int]:
        pace, turns = make(), 0

        def turn() -> int:
            nonlocal turns
            turns += 1
            return monotonic_ns() + 100_000

        with anyio.move_on_after(0.01):
            await pace.run(turn)
        seen = turns
        await until(pace, monotonic_ns() + 2_000_000)
        pace.close()
        return seen, turns

    seen, turns = anyio.run(run)
    assert seen == turns > 1


@pytest.mark.parametrize("make", PACERS)
def test_a_cancelled_wait_leaves_the_pacer_usable(make: Callable[[], Pacer]) -> None:
    async def late_ns() -> int:
        pace = make()
        with anyio.move_on_after(0.01):
            await until(pace, monotonic_ns() + 10**12)
        due_ns = monotonic_ns() + 5_000_000
        await until(pace, due_ns)
        pace.close()
        return monotonic_ns() - due_ns

    assert anyio.run(late_ns) >= 0
