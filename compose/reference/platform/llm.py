"""The stub model: deterministic, and streams an echo of what it was asked, token by token.

`POST /complete` (header X-Tenant: on whose behalf) answers 200 with chunks of plain text. With the
lab's token (X-Lab-Token), `PUT /behaviour` makes it fail, hang, break off or be slow, for everybody
or for one tenant only, `DELETE /behaviour` ends that, and `GET /calls` counts what was asked.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from . import config, serving
from .llm_tokens import tokens

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
ANSWER_TOKENS_MAX = 512
TICK_SECONDS = 0.01
"""Tokens that fall into one tick leave as one chunk."""
HANG_SECONDS = 60.0
TEXT = (b"content-type", b"text/plain; charset=utf-8")

Count = Annotated[int, msgspec.Meta(ge=0)]


class Ask(msgspec.Struct):
    """A request: what to echo."""

    prompt: str


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the model answers `tenant` (everybody: ""); what is not told stays as configured."""

    tenant: str = ""
    delay_ms: Count | None = None  # to the first token
    tokens_per_second: Annotated[int, msgspec.Meta(ge=1)] | None = None
    fail: bool = False  # 503 at once
    hang: bool = False  # takes the request, and says nothing
    break_after_tokens: Count | None = None  # the connection ends in the middle of the answer


_ask = msgspec.json.Decoder(Ask).decode
_behaviour = msgspec.json.Decoder(Behaviour).decode


@dataclass(slots=True)
class Model:
    """The application; `behaviours` and `calls` go by tenant."""

    settings: config.Llm
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request; plain ASGI, because every message of the platform comes here."""
        headers, body = dict(scope["headers"]), await _body(receive)
        match scope["method"], scope["path"]:
            case _, "/health":
                await _reply(send, 200, {"status": "ok"})
            case "POST", "/complete":
                await self._complete(headers.get(b"x-tenant", b"").decode("latin-1"), body, send)
            case method, "/behaviour" | "/calls" if not self._is_lab(headers):
                await _reply(send, 403, {"error": "forbidden"})
            case "GET", "/calls":
                await _reply(send, 200, dict(self.calls))
            case "PUT" | "DELETE" as method, "/behaviour":
                await self._behave(method, body, send)
            case _:
                await _reply(send, 404, {"error": "not found"})

    def _is_lab(self, headers: dict[bytes, bytes]) -> bool:
        token = self.settings.lab_token.encode()
        return bool(token) and hmac.compare_digest(headers.get(b"x-lab-token", b""), token)

    async def _behave(self, method: str, body: bytes, send: Send) -> None:
        """Set or remove a behaviour; the body of DELETE names the tenant, too."""
        try:
            wanted = _behaviour(body or b"{}")
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return await _reply(send, 400, {"error": str(error)})
        if method == "PUT":
            self.behaviours[wanted.tenant] = wanted
        else:
            self.behaviours.pop(wanted.tenant, None)
        return await _reply(send, 200, msgspec.to_builtins(wanted))

    async def _complete(self, tenant: str, body: bytes, send: Send) -> None:
        self.calls[tenant] += 1
        try:
            prompt = _ask(body).prompt
        except (msgspec.DecodeError, msgspec.ValidationError):
            return await _reply(send, 400, {"error": "bad request"})
        told = self.behaviours.get(tenant) or self.behaviours.get("") or Behaviour()
        if told.fail:
            return await _reply(send, 503, {"error": "overloaded"})
        if told.hang:
            await asyncio.sleep(HANG_SECONDS)
            return None
        return await self._stream(tokens(f"echo: {prompt}")[:ANSWER_TOKENS_MAX], told, send)

    async def _stream(self, words: list[str], told: Behaviour, send: Send) -> None:
        """The answer at its pace: what falls into a tick at once."""
        settings, size = self.settings, len("".join(words).encode())
        delay_ms = settings.llm_delay_ms if told.delay_ms is None else told.delay_ms
        per_second = told.tokens_per_second or settings.llm_tokens_per_second
        at_once = max(1, int(per_second * TICK_SECONDS))
        await asyncio.sleep(delay_ms / 1000)
        headers = [TEXT, (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = words if told.break_after_tokens is None else words[: told.break_after_tokens]
        whole = len(left) == len(words)
        while left:
            chunk, left = "".join(left[:at_once]), left[at_once:]
            more = bool(left) or not whole  # one that is broken off ends without its last bytes
            await send({"type": "http.response.body", "body": chunk.encode(), "more_body": more})
            if left:
                await asyncio.sleep(at_once / per_second)


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    return body


async def _reply(send: Send, status: int, body: dict[str, Any]) -> None:
    data = msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


if __name__ == "__main__":
    serving.run_main(
        serving.serve(serving.server(Model(config.load_or_exit(config.Llm, os.environ)), 8082))
    )
