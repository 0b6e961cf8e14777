"""An answer: its task goes on at once, in its own context, and can be cancelled as on a future."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from lab.transport.answer import Answer

pytestmark = pytest.mark.usefixtures("each_loop")

MARK: ContextVar[str] = ContextVar("MARK", default="none")


def in_the_loop(then: Callable[[], None]) -> Awaitable[None]:
    """Call `then` as the loop calls what a socket received: outside of every task."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def call() -> None:
        then()
        done.set_result(None)

    loop.call_soon(call)
    return done


def test_its_task_goes_on_before_give_returns_and_in_the_context_of_the_task() -> None:
    async def run() -> list[str]:
        answer: Answer[str] = Answer(asyncio.get_running_loop())
        told: list[str] = []

        async def ask() -> None:
            MARK.set("own")
            told.append(f"{await answer} {MARK.get()}")

        def give() -> None:
            answer.give("first")
            told.append("given")
            answer.give("second")

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        await in_the_loop(give)
        await asking
        return told

    assert asyncio.run(run()) == ["first own", "given"]


def test_given_by_a_task_it_wakes_the_other_one_after_that() -> None:
    async def run() -> list[str]:
        answer: Answer[str] = Answer(asyncio.get_running_loop())
        told: list[str] = []

        async def ask() -> None:
            told.append(await answer)

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0)
        answer.give("answer")
        told.append("given")
        await asking
        return told

    assert asyncio.run(run()) == ["given", "answer"]


def test_one_that_is_there_already_is_not_waited_for() -> None:
    async def run() -> str:
        answer: Answer[str] = Answer(asyncio.get_running_loop())
        answer.give("here")
        return await answer

    assert asyncio.run(run()) == "here"


def test_what_it_fails_with_is_raised_and_an_answer_that_comes_then_is_ignored() -> None:
    async def run() -> None:
        answer: Answer[str] = Answer(asyncio.get_running_loop())

        def fail() -> None:
            answer.fail(TimeoutError())
            answer.give("late")

        with pytest.raises(TimeoutError):
            await asyncio.gather(answer_of(answer), in_the_loop(fail))

    asyncio.run(run())


def test_a_limit_around_it_ends_the_wait_and_nothing_resumes_it_twice() -> None:
    async def run() -> None:
        answer: Answer[str] = Answer(asyncio.get_running_loop())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await answer
        answer.give("late")
        assert not answer.cancel()
        await asyncio.sleep(0)

    asyncio.run(run())


async def answer_of(answer: Answer[str]) -> str:
    return await answer
