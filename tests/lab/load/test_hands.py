"""Hands: no more than are needed at once, and a job's end is its own."""

from __future__ import annotations

import asyncio

import pytest

from lab.load.hands import Hands

pytestmark = pytest.mark.usefixtures("each_loop")

Job = tuple[str, asyncio.Future[None]]


class Work:
    """Jobs that last until their future is set; who did them, and what came of them."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended: list[str] = []
        self.cut: set[str] = set()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.hands = Hands(self.loop, self.do)

    async def do(self, job: Job) -> None:
        name, until = job
        task = asyncio.current_task()
        assert task is not None
        self.tasks[name] = task
        try:
            await until
            self.ended.append(name)
        except asyncio.CancelledError:
            self.ended.append(f"{name} cancelled")
            if name not in self.cut:
                raise

    def end(self, name: str) -> None:
        """Cancel one job, which knows that it is meant."""
        self.cut.add(name)
        self.tasks[name].cancel()

    def take(self, name: str) -> asyncio.Future[None]:
        until: asyncio.Future[None] = self.loop.create_future()
        self.hands.take((name, until))
        return until


def test_jobs_one_after_the_other_are_done_by_one_task_and_two_at_once_by_two() -> None:
    async def run() -> Work:
        work = Work()
        for name in ("a", "b"):
            until = work.take(name)
            await asyncio.sleep(0)
            until.set_result(None)
            await asyncio.sleep(0.001)
        both = work.take("c"), work.take("d")
        await asyncio.sleep(0)
        for until in both:
            until.set_result(None)
        await asyncio.sleep(0.001)
        work.hands.dismiss()
        return work

    work = asyncio.run(run())
    assert work.ended == ["a", "b", "c", "d"]
    assert work.tasks["a"] is work.tasks["b"] is not work.tasks["d"]


def test_a_job_begins_before_take_returns_once_a_hand_is_free() -> None:
    async def run() -> list[str]:
        work = Work()
        work.take("first").set_result(None)
        await asyncio.sleep(0.001)
        begun: asyncio.Future[list[str]] = work.loop.create_future()

        def due() -> None:
            work.take("second")
            begun.set_result(list(work.tasks))

        work.loop.call_soon(due)
        return await begun

    assert asyncio.run(run()) == ["first", "second"]


def test_a_cancelled_job_leaves_its_hand_fit_for_the_next() -> None:
    async def run() -> Work:
        work = Work()
        work.take("a")
        await asyncio.sleep(0)
        work.end("a")
        await asyncio.sleep(0.001)
        until = work.take("b")
        await asyncio.sleep(0)
        assert not work.tasks["b"].cancelling()
        until.set_result(None)
        await asyncio.sleep(0.001)
        work.hands.dismiss()
        return work

    work = asyncio.run(run())
    assert work.ended == ["a cancelled", "b"]
    assert work.tasks["a"] is work.tasks["b"]


def test_dismissed_hands_end_busy_or_idle_even_one_whose_job_was_just_cancelled() -> None:
    async def run() -> Work:
        work = Work()
        work.take("idle").set_result(None)
        await asyncio.sleep(0.001)
        for name in ("busy", "cut"):
            work.take(name)
        await asyncio.sleep(0)
        work.end("cut")
        work.hands.dismiss()
        async with asyncio.timeout(1):
            await asyncio.wait(set(work.tasks.values()))
        return work

    work = asyncio.run(run())
    assert sorted(work.ended) == ["busy cancelled", "cut cancelled", "idle"]


def test_a_hand_that_is_gone_takes_no_job_along() -> None:
    async def run() -> list[str]:
        work = Work()
        work.take("a").set_result(None)
        await asyncio.sleep(0.001)
        work.tasks["a"].cancel()  # idle by now
        await asyncio.sleep(0.001)
        work.take("b").set_result(None)
        await asyncio.sleep(0.001)
        return work.ended

    assert asyncio.run(run()) == ["a", "b"]
