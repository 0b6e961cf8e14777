"""A socket that was open before the injection feels the fault, or the fault says that it does not.

A link is the clients' own way in here, so that what is measured is exactly one connection; behind
it the service holds its own, open too, to the store.
"""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from time import monotonic

import pytest

from faults.links_more import Bandwidth, LimitData, ResetPeer, Slicer, Timeout
from faults.netns import Disconnect, DnsFailure, HalfOpen, Isolate, Rate
from faults.network import Down, Latency, Partition
from lab.actions import Read, Write
from lab.fault import Fault
from tests.conformance import check_open_connections
from tests.docker.standing import Held, fresh_run, held, two_sessions

pytestmark = pytest.mark.docker
WAY_IN = "client@quiet"
VALUE = "x" * 30_000
"""Large enough for a thin or chopped wire to show."""

FAULTS: tuple[Fault, ...] = (
    Bandwidth(WAY_IN, 100),
    Bandwidth(WAY_IN, 100, "upstream"),
    Down(WAY_IN),
    Latency(WAY_IN, 100),
    LimitData(WAY_IN, 1000),
    Partition(WAY_IN),
    Partition(WAY_IN, "to"),
    ResetPeer(WAY_IN, 5),
    Slicer(WAY_IN, 500, 100, 2000),
    Timeout(WAY_IN, 100),
    Disconnect("redis"),
    DnsFailure("app"),
    HalfOpen("redis"),
    Isolate("redis"),
    Rate("redis", 64),
)
"""`slow_close` shows when a connection closes, and `packet_loss` only now and then."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Held]:
    with held(tmp_path_factory.mktemp("open"), fresh_run()) as stack:
        yield stack


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_an_open_connection_feels_a_link_fault_or_the_fault_says_that_it_does_not(
    fault: Fault, up: Held
) -> None:
    async def story() -> None:
        driver, session, other = await two_sessions(up.stack, "open")

        async def exchange() -> float:
            began = monotonic()
            try:
                await session.perform(Write("k", VALUE), op=f"w{began}", deadline_seconds=1)
                await session.perform(Read("k"), op=f"r{began}", deadline_seconds=1)
            except Exception:  # noqa: BLE001 - whatever a client can meet: it was not answered
                return inf
            return monotonic() - began

        try:
            await check_open_connections(fault, up.stack.lab, exchange)
        finally:
            session.abort()
            await other.close()
            await driver.close()

    up.do(story)
