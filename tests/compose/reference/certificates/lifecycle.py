"""Certificates of the defects in health, readiness and the way down."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import aiohttp
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.compose.reference.certificates import certificate
from tests.compose.reference.doors import Claims, at_the_door, call, logged_in, message
from tests.compose.reference.levers import model_calls, model_does
from tests.compose.reference.stacks import Running, eventually

BACK_SECONDS = 15.0
SLOW_MS = 1500
"""Of the model; less than the drain may take."""


@certificate("no_drain")
async def the_end_of_what_is_in_flight(running: Running) -> str:
    """The backend is told to stop while a message of it waits for the model."""
    (tenant,) = await running.tenants()

    async def asked() -> bool:
        return await model_calls(running, tenant) > 0

    try:
        async with (
            at_the_door(running, await logged_in(running, tenant)) as socket,
            model_does(running, tenant, delay_ms=SLOW_MS),
        ):
            await socket.send(message(tenant, "late"))
            await eventually(asked)
            ending = asyncio.create_task(running.stack.containers.kill("backend", signal.SIGTERM))
            heard = await _until_closed(socket)
            await ending
    finally:
        await running.stack.containers.start("backend")
        await _ready(running)
    answered = [each["message_id"] == "late" for each in heard]
    if not any(answered):
        return f"closed without an answer: {socket.close_code}"
    before = [each["code"] for each in heard[: answered.index(True)]]
    assert "draining" in before, "it was answered before it was to stop"
    return ""


async def _until_closed(socket: ClientConnection) -> list[Claims]:
    """All that is heard to the end, while nonsense is said: what is told of it shows a drain."""
    heard: list[Claims] = []

    async def nonsense() -> None:
        with suppress(ConnectionClosed):
            while True:
                await socket.send("{")
                await asyncio.sleep(0.05)

    saying = asyncio.create_task(nonsense())
    with suppress(ConnectionClosed):
        while True:
            heard.append(json.loads(await socket.recv()))
    await saying
    return heard


@certificate("health_needs_postgres")
async def health_without_postgres(running: Running) -> str:
    """Postgres is cut off; the backend itself is fine."""
    async with _no_postgres(running):
        status, _ = await call(running, "client", "/health", method="GET")
    assert status in (200, 503), status
    return f"/health says {status}" if status != 200 else ""


@certificate("ready_without_looking")
async def ready_without_postgres(running: Running) -> str:
    """Postgres is cut off; the backend can serve nobody."""
    async with _no_postgres(running):
        status, _ = await call(running, "client", "/ready", method="GET")
    assert status in (200, 503), status
    return f"/ready says {status}" if status == 200 else ""


@asynccontextmanager
async def _no_postgres(running: Running) -> AsyncGenerator[None]:
    """Postgres cut off, and the backend knows."""

    async def seen() -> bool:
        _, text = await call(running, "client", "/ready", method="GET")
        return json.loads(text)["postgres"] != "ok"

    await running.stack.links.enable("postgres", False)
    try:
        await eventually(seen)
        yield
    finally:
        await running.stack.links.enable("postgres", True)
        await _ready(running)


async def _ready(running: Running) -> None:
    async def ready() -> bool:
        try:
            status, _ = await call(running, "client", "/ready", method="GET")
            admin, _ = await call(running, "admin", "/health", method="GET")
        except (aiohttp.ClientError, OSError):
            return False
        return status == 200 and admin < 500

    await eventually(ready, BACK_SECONDS)
