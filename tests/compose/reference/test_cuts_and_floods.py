"""What a cut link or a flood costs: errors in time, open sockets, and service that is back soon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

import aiohttp
import asyncpg
import pytest

from lab.actions import Read, Work, Write
from lab.hands import Toxic

from .stacks import Held, Running, ask, eventually, held

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def stack() -> Generator[Held]:
    with held("process") as running:
        yield running


async def status(running: Running, path: str) -> int:
    where = running.stack.site.entrance("client", "quiet")
    async with aiohttp.ClientSession() as http, http.get(f"http://{where}{path}") as response:
        return response.status


SILENCE = Toxic("silence", "timeout", "downstream", {"timeout": 0})


@pytest.mark.parametrize("link", ["redis", "postgres", "llm"])
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_link_that_is_cut_costs_errors_only_and_service_is_back_soon(
    stack: Held, link: str, how: str
) -> None:
    async def body(running: Running) -> None:
        _, session = await running.session()
        links = running.stack.links
        assert await ask(session, Write("k", "v"), "before") == "None"
        if how == "refused":
            await links.enable(link, False)
        else:
            await links.add(link, SILENCE)
        try:
            for n in range(4):
                asked = time.monotonic()
                assert (await ask(session, Read("k"), f"cut{n}", 2.0)).startswith("refused")
                assert time.monotonic() - asked < 2.0
            assert await status(running, "/health") == 200
            assert await status(running, "/ready") == 503
        finally:
            if how == "refused":
                await links.enable(link, True)
            else:
                await links.remove(link, SILENCE.name)
        healed, n = time.monotonic(), 0
        while (await ask(session, Read("k"), f"back{n}", 2.0)) != "v":  # the same socket
            n += 1
            await asyncio.sleep(0.02)
        assert time.monotonic() - healed < 2.0

    stack.do(body)


def test_open_sockets_go_on_while_auth_is_down(stack: Held) -> None:
    async def body(running: Running) -> None:
        tenant, session = await running.session()
        await running.stack.links.enable("auth", False)
        try:
            assert await ask(session, Write("k", "v"), "w") == "None"
            with pytest.raises(ConnectionRefusedError):
                await running.connect(tenant)
            await session.close()
        finally:
            await running.stack.links.enable("auth", True)

        async def closed() -> bool:  # closing a session is repeated until it is done
            sessions = (await running.driver.census())["sessions"]
            return not [s for s in sessions if s.startswith(f"{tenant.id}/")]

        await eventually(closed)

    stack.do(body)


def test_a_flood_of_heavy_queries_is_refused_and_neighbours_are_answered(stack: Held) -> None:
    async def body(running: Running) -> None:
        _, noisy = await running.session("noisy")
        _, quiet = await running.session()
        flood = [asyncio.create_task(ask(noisy, Work("query", 40), f"n{n}")) for n in range(100)]
        assert await ask(quiet, Write("k", "v"), "w", 1.0) == "None"
        answers = await asyncio.gather(*flood)
        refusals = [a for a in answers if a in ("refused over_budget", "refused rate_limited")]
        refusals += [a for a in answers if a == "refused too_many_in_flight"]
        assert 90 <= len(refusals) < 100

    stack.do(body)


def test_readiness_costs_no_connections_and_names_every_dependency(stack: Held) -> None:
    async def body(running: Running) -> None:
        where = running.stack.site.observers["postgres"]
        observer = await asyncpg.connect(
            host=where.host, port=where.port, user="observer", database="platform",
            password=running.stack.site.variables["OBSERVER_PASSWORD"], ssl=False,
        )  # fmt: skip
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"
        try:
            await eventually(lambda: _reached(observer, count, 5))
            before = await observer.fetchval(count)
            asked = (status(running, "/ready") for _ in range(100))
            assert set(await asyncio.gather(*asked)) == {200}
            assert await observer.fetchval(count) == before
        finally:
            await observer.close()

    stack.do(body)


async def _reached(connection: asyncpg.Connection, query: str, least: int) -> bool:
    return int(await connection.fetchval(query)) >= least
