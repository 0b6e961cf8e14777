"""The stub model: deterministic, echoes what it was asked after a set delay. Plain ASGI: cheap."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from . import config, serving

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Ask(msgspec.Struct):
    """A request: what to echo, and after how many milliseconds (-1: the service's own pace)."""

    prompt: str
    delay_ms: int = -1


_decode = msgspec.json.Decoder(Ask).decode


def app(settings: config.Llm) -> Callable[..., Awaitable[None]]:
    """`POST /complete` and `GET /health`."""

    async def answer(
        scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send
    ) -> None:
        if scope["path"] == "/health":
            return await _reply(send, 200, {"status": "ok"})
        if scope["path"] != "/complete":
            return await _reply(send, 404, {"error": "not found"})
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        try:
            ask = _decode(body)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return await _reply(send, 400, {"error": "bad request"})
        delay_ms = settings.llm_delay_ms if ask.delay_ms < 0 else ask.delay_ms
        await asyncio.sleep(delay_ms / 1000)
        return await _reply(send, 200, {"text": f"echo: {ask.prompt}"})

    return answer


async def _reply(send: Send, status: int, body: dict[str, str]) -> None:
    data = msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


if __name__ == "__main__":
    serving.run_main(
        serving.serve(serving.server(app(config.load_or_exit(config.Llm, os.environ)), 8082))
    )
