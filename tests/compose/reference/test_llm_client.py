# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""The way to the model, with a model that does as it likes."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from reference_platform.llm_client import ANSWER_MAX_BYTES, LlmClient
from reference_platform.problems import Problem


def test_a_model_that_never_stops_talking_is_cut_off_and_what_it_said_is_paid() -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"word " * 10_000)

    async def body() -> None:
        app = web.Application()
        app.router.add_post("/complete", talk)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        paid: list[int] = []
        try:
            async with aiohttp.ClientSession() as http:
                client = LlmClient(f"http://127.0.0.1:{runner.addresses[0][1]}", http)
                until = asyncio.get_running_loop().time() + 5.0
                with pytest.raises(Problem, match="llm_unavailable"):
                    await client.complete("a", "hello", until, paid.append)
        finally:
            await runner.cleanup()
        assert ANSWER_MAX_BYTES / 10 < paid[0] < ANSWER_MAX_BYTES

    asyncio.run(body())
