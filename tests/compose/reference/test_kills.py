"""Whatever is killed under load comes back by itself, and every promise made meanwhile is kept.

`python -m benchmarks.kills` does the same twenty times each, and tells how long it took.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import pytest

from benchmarks.kills import VICTIMS, Resolving, Result, drill

from .stacks import Held, Running, held

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_was_acknowledged_is_there_once_and_what_was_refused_is_not(
    stack: Held, victim: str
) -> None:
    async def body(running: Running) -> Result:
        driver = cast(Resolving, running.driver)
        return await drill(driver, running.stack, victim, 2, f"kill-{victim}")

    result = stack.do(body)
    assert result.broken == ()
    assert result.outcomes["OK"] > 100, "too little load to promise anything"
    assert result.doubts["unresolved"] == 0
