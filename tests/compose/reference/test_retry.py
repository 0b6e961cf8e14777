# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Retries stay within their share of all calls; a breaker opens on failures in a row only."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform.breaker import PROBE_EVERY_SECONDS, THRESHOLD, Breaker
from reference_platform.problems import Problem
from reference_platform.retry import RetryBudget


@given(st.lists(st.booleans(), max_size=500))
def test_retries_are_never_more_than_a_tenth_of_the_calls(failures: list[bool]) -> None:
    budget = RetryBudget()
    for failed in failures:
        budget.called()
        if failed:
            budget.may_retry()
        assert budget.retries <= 0.1 * budget.calls + 1e-6
    told = budget.counters()
    assert told["retries"] + told["denied"] == sum(failures)


def test_what_was_saved_in_good_times_is_bounded() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.called()
    assert sum(budget.may_retry() for _ in range(100)) == 10


class Dependency:
    """Answers probes as it is told to."""

    def __init__(self) -> None:
        self.up, self.probes = True, 0

    async def probe(self) -> None:
        self.probes += 1
        if not self.up:
            raise ConnectionResetError


async def _opened(breaker: Breaker, wanted: bool) -> None:
    with anyio.fail_after(2):
        while breaker.is_open is not wanted:
            await anyio.lowlevel.checkpoint()


@given(st.lists(st.booleans(), max_size=40))
def test_a_breaker_opens_exactly_when_failures_came_in_a_row(outcomes: list[bool]) -> None:
    async def body() -> None:
        dependency = Dependency()
        dependency.up, in_a_row = False, 0
        breaker = Breaker("it", dependency.probe)
        for succeeded in outcomes:
            breaker.succeeded() if succeeded else breaker.failed()
            in_a_row = 0 if succeeded else in_a_row + 1
            assert breaker.is_open is (in_a_row >= THRESHOLD)
            if breaker.is_open:
                with pytest.raises(Problem, match="it_unavailable"):
                    breaker.check()
                break
            breaker.check()
        breaker.close()

    anyio.run(body)


def test_an_open_breaker_closes_when_a_probe_gets_through() -> None:
    async def body() -> None:
        dependency = Dependency()
        dependency.up = False
        breaker = Breaker("it", dependency.probe)
        for _ in range(THRESHOLD):
            breaker.failed()
        assert breaker.is_open
        dependency.up = True
        await _opened(breaker, False)
        breaker.check()

    anyio.run(body)


def test_an_open_breaker_has_one_probe_at_a_time() -> None:
    async def body() -> None:
        at_once, most, ended = 0, 0, anyio.Event()

        async def probe() -> None:
            nonlocal at_once, most
            at_once, most = at_once + 1, max(most, at_once + 1)
            try:
                await anyio.sleep(3 * PROBE_EVERY_SECONDS)
            finally:
                at_once -= 1
            ended.set()

        breaker = Breaker("it", probe)
        for _ in range(THRESHOLD):
            breaker.failed()
        with anyio.fail_after(3):
            await ended.wait()
        assert most == 1
        breaker.close()

    anyio.run(body)


def test_slow_answers_open_a_breaker_only_when_its_probe_fails_too() -> None:
    async def body() -> None:
        dependency = Dependency()
        breaker = Breaker("it", dependency.probe)
        for _ in range(10 * THRESHOLD):
            breaker.suspect()
        with anyio.fail_after(2):
            while not dependency.probes:
                await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert (breaker.is_open, dependency.probes) == (False, 1)
        dependency.up = False
        breaker.suspect()
        await _opened(breaker, True)
        breaker.close()

    anyio.run(body)
