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

PROBE_SECONDS = 1.0
Probe = Callable[[], Awaitable[None]]


def routes(probes: dict[str, Probe], draining: Callable[[], bool]) -> list[BaseRoute]:
    """The three routes; probes raise while their dependency is not usable."""

    async def health(request: Request) -> JSONResponse:
        if planted("health_needs_postgres") and await _state(probes["postgres"]) != "ok":
            return JSONResponse({"status": "postgres"}, status_code=503)
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> JSONResponse:
        states = await asyncio.gather(*(_state(probe) for probe in probes.values()))
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


async def _state(probe: Probe) -> str:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return type(error).__name__
    return "ok"
