"""The driver: what it asks about messages in doubt, and how a long session keeps its token."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Generator
from typing import Any, cast

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.kills import Resolving
from lab.actions import Read, Spend, Write
from lab.stack.file import load, load_driver
from lab.transport import Line

from .stacks import SYSTEM, Held, Running, ask, held


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held() as running:
        yield running


def session_module() -> Any:
    package = load_driver(load(SYSTEM).driver).__module__
    return sys.modules[f"{package}.session"]


def test_a_token_is_renewed_in_good_time_and_again_when_auth_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = session_module()
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.02)
    got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    tries = iter([ConnectionRefusedError("auth is away"), module.Token("next", time.time() + 60)])

    async def renew(old: Any) -> Any:
        assert old.text == "first"
        found = next(tries)
        if isinstance(found, Exception):
            raise found
        return found

    async def handle(socket: ServerConnection) -> None:
        async for text in socket:
            await got.put(json.loads(text))

    async def story() -> dict[str, Any]:
        async with serve(handle, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            line = await Line(module.addressed).open(f"ws://127.0.0.1:{port}")
            first = module.Token("first", time.time() + 0.05)
            session = module.WebSocketSession(line, "t1-a", first, renew)
            async with asyncio.timeout(5):
                told = await got.get()
                await session.close()
            return told

    assert asyncio.run(story()) == {"type": "renew", "token": "next"}


@pytest.mark.docker
def test_a_message_in_doubt_is_either_done_or_void_for_ever(stack: Held) -> None:
    async def body(running: Running) -> None:
        driver = cast(Resolving, running.driver)
        tenant, session = await running.session()
        assert await ask(session, Spend(1), "spent") == "999"
        assert await ask(session, Write("k", "kept"), "written") is not None
        told = await driver.resolve(tenant, ["spent", "written", "never", "never-either"])
        assert told == {"spent": True, "written": True, "never": False, "never-either": False}
        assert (await ask(session, Write("k", "late"), "never")).startswith("refused")
        assert (await ask(session, Spend(1), "never-either")).startswith("refused")
        assert await ask(session, Read("k"), "read") == "kept"
        assert await ask(session, Spend(1), "spent-again") == "998"

    stack.do(body)


@pytest.mark.docker
def test_nobody_learns_of_or_voids_another_tenants_message(stack: Held) -> None:
    async def body(running: Running) -> None:
        driver = cast(Resolving, running.driver)
        other, _ = await running.session()
        _, session = await running.session()
        assert await ask(session, Spend(1), "mine") == "999"
        assert await driver.resolve(other, ["mine", "mine-too"]) == {
            "mine": False,
            "mine-too": False,
        }
        assert await ask(session, Spend(1), "mine-too") == "998"

    stack.do(body)
