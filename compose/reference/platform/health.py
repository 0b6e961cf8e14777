"""`/health` (the event loop is alive, no more), `/ready` (each dependency), `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

PROBE_SECONDS = 1.0


def routes(
    probes: dict[str, Callable[[], Awaitable[None]]], draining: Callable[[], bool]
) -> list[BaseRoute]:
    """The three routes; probes raise while their dependency is not usable."""

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> JSONResponse:
        states = await asyncio.gather(*(_state(probe) for probe in probes.values()))
        found = dict(zip(probes, states, strict=True)) | ({"draining": "yes"} if draining() else {})
        fine = all(state == "ok" for state in found.values())
        return JSONResponse(found, status_code=200 if fine else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/health", health), Route("/ready", ready), Route("/metrics", metrics)]


async def _state(probe: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return type(error).__name__
    return "ok"
