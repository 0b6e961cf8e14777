"""Time-outs: never early, late by at most their grain, and no reason to keep an answer."""

from __future__ import annotations

import asyncio
import gc
from weakref import ref

import pytest

from lab.transport.answer import Answer
from lab.transport.deadlines import deadlines

pytestmark = pytest.mark.usefixtures("each_loop")


def test_a_time_out_is_not_early_and_each_answer_has_its_own() -> None:
    async def run() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def ended(seconds: float) -> float:
            answer: Answer[None] = Answer(loop)
            deadlines(loop).add(answer, seconds)
            try:
                await answer
            except TimeoutError:
                return loop.time() - began
            raise AssertionError("nobody answered")

        asked = [n / 200 for n in range(20)]
        return list(zip(asked, await asyncio.gather(*map(ended, asked)), strict=True))

    assert all(asked <= took < asked + 5 for asked, took in asyncio.run(run()))


def test_an_answer_that_came_is_left_alone_and_not_kept() -> None:
    async def run() -> bool:
        loop = asyncio.get_running_loop()
        answer: Answer[str] = Answer(loop)
        deadlines(loop).add(answer, 0.01)
        answer.give("here")
        assert await answer == "here"
        await asyncio.sleep(0.1)
        assert answer.result() == "here"
        later: Answer[str] = Answer(loop)
        deadlines(loop).add(later, 3_600)
        later.give("large")
        known = ref(later)
        del later
        gc.collect()
        return known() is None

    assert asyncio.run(run())
