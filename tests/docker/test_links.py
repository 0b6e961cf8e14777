"""The proxied edges of a real stack: what is put on them is felt, and only there."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from time import monotonic

import pytest

from lab.actions import Read, Write
from lab.errors import LabError
from lab.hands import Toxic
from lab.system import Session
from tests.docker.standing import Held, fresh_run, held, two_sessions

pytestmark = pytest.mark.docker
DELAY_MS = 150
DELAY = Toxic("delay", "latency", "downstream", {"latency": DELAY_MS, "jitter": 0})


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Held]:
    folder: Path = tmp_path_factory.mktemp("links")
    with held(folder, fresh_run()) as stack:
        yield stack


async def took_ms(session: Session, op: str) -> float:
    """How long one read takes."""
    began = monotonic()
    await session.perform(Read("k"), op=op, deadline_seconds=3)
    return (monotonic() - began) * 1000


def test_a_delay_is_felt_on_open_connections_and_gone_after_removal(up: Held) -> None:
    async def story() -> tuple[float, float, float]:
        driver, calm, loud = await two_sessions(up.stack, "t1")
        await took_ms(calm, "warm")
        before = await took_ms(calm, "before")
        await up.stack.links.add("redis", DELAY)
        during = await took_ms(calm, "during")
        await up.stack.links.remove("redis", "delay")
        after = await took_ms(calm, "after")
        await calm.close()
        await loud.close()
        await driver.close()
        return before, during, after

    before, during, after = up.do(story)
    assert before < DELAY_MS <= during < 3 * DELAY_MS
    assert after < DELAY_MS


def test_a_fault_on_one_cohorts_entrance_leaves_the_other_alone(up: Held) -> None:
    async def story() -> tuple[float, float]:
        driver, calm, loud = await two_sessions(up.stack, "t2")
        await up.stack.links.add("client@noisy", DELAY)
        quiet_ms, noisy_ms = await took_ms(calm, "q"), await took_ms(loud, "n")
        await up.stack.links.remove("client@noisy", "delay")
        await calm.close()
        await loud.close()
        await driver.close()
        return quiet_ms, noisy_ms

    quiet_ms, noisy_ms = up.do(story)
    assert quiet_ms < DELAY_MS <= noisy_ms


def test_a_disabled_link_cuts_and_the_system_comes_back_when_it_is_enabled(up: Held) -> None:
    async def story() -> str | None:
        driver, calm, loud = await two_sessions(up.stack, "t3")
        await calm.perform(Write("k", "v"), op="w", deadline_seconds=3)
        await up.stack.links.enable("redis", enabled=False)
        with pytest.raises(ConnectionError):
            await calm.perform(Read("k"), op="cut", deadline_seconds=3)
        await up.stack.links.enable("redis", enabled=True)
        reply = await calm.perform(Read("k"), op="back", deadline_seconds=3)
        await calm.close()
        await loud.close()
        await driver.close()
        return reply.value

    assert up.do(story) == "v"


def test_removing_what_is_not_there_is_fine_and_an_unknown_link_is_told(up: Held) -> None:
    async def remove() -> None:
        await up.stack.links.remove("redis", "nothing")

    async def unknown() -> None:
        await up.stack.links.add("kafka", DELAY)

    up.do(remove)
    with pytest.raises(LabError, match="no link `kafka`"):
        up.do(unknown)


def test_a_toxic_that_toxiproxy_refuses_is_an_error_and_leaves_nothing(up: Held) -> None:
    async def refused() -> None:
        await up.stack.links.add("redis", Toxic("odd", "no-such-type", "downstream", {}))

    with pytest.raises(LabError, match="refused"):
        up.do(refused)
    assert not any(up.do(up.stack.links.toxics).values())
