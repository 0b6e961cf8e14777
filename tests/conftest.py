"""Settings of all tests: how long an example takes is the machine's business, never a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest
import uvloop
from hypothesis import settings

settings.register_profile("crosstalk", deadline=None)
settings.load_profile("crosstalk")


@pytest.fixture(
    params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"]
)
def each_loop(request: pytest.FixtureRequest) -> Generator[None]:
    """The test's loops are asyncio's own, as a driver's tests have them, or the generator's."""
    asyncio.set_event_loop_policy(request.param())  # pyright: ignore[reportDeprecated] - gone in 3.16
    yield
    asyncio.set_event_loop_policy(None)  # pyright: ignore[reportDeprecated]
