"""`/health` (the event loop is alive, no more), `/ready` (each dependency), `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from . import api, metrics
from .defects import planted

PROBE_SECONDS, FRESH_SECONDS = 1.0, 0.5
Probe = Callable[[], Awaitable[None]]


class Look:
    """One look at a dependency at a time, however many ask: they share it while it is fresh.

    The routes are open to everybody, and so a question must not cost a connection.
    """

    def __init__(self, probe: Probe) -> None:
        self._probe, self._fresh_until = probe, 0.0
        self._look: asyncio.Task[str] | None = None

    async def state(self) -> str:
        """`ok`, or the kind of what went wrong."""
        loop = asyncio.get_running_loop()
        look = self._look
        if look is None or (look.done() and loop.time() >= self._fresh_until):
            look = self._look = loop.create_task(self._taken())
        return await asyncio.shield(look)  # who stops asking stops nobody else's look

    async def _taken(self) -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return type(error).__name__
        finally:
            self._fresh_until = asyncio.get_running_loop().time() + FRESH_SECONDS
        return "ok"


def routes(probes: dict[str, Probe], draining: Callable[[], bool]) -> list[BaseRoute]:
    """The three routes; probes raise while their dependency is not usable."""
    looks = {name: Look(probe) for name, probe in probes.items()}

    async def health(request: Request) -> JSONResponse:
        if planted("health_needs_postgres") and await looks["postgres"].state() != "ok":
            return JSONResponse({"status": "postgres"}, status_code=503)
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> JSONResponse:
        states = await asyncio.gather(*(look.state() for look in looks.values()))
        found = dict(zip(probes, states, strict=True)) | ({"draining": "yes"} if draining() else {})
        fine = planted("ready_without_looking") or all(state == "ok" for state in found.values())
        return JSONResponse(found, status_code=200 if fine else 503)

    async def numbers(request: Request) -> Response:
        text = generate_latest()
        if planted("metrics_name_tenants"):
            text += generate_latest(metrics.named)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return [
        api.route("GET", "/health", health, "Alive; says nothing about any dependency."),
        api.route(
            "GET", "/ready", ready, "Each dependency by name, `ok` or what is wrong.",
            answers={200: "all of them are usable", 503: "one is not, or the server is draining"},
        ),
        api.route("GET", "/metrics", numbers, "Prometheus text, without any tenant."),
    ]  # fmt: skip
