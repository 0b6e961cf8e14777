"""HTTP routes that describe themselves: the description at `/openapi.json` is made from them.

A route without a description cannot be made here, so the document cannot fall behind.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from . import log
from .problems import CLOSE_CODES, CODES, Problem
from .tokens import TokenError

T = TypeVar("T")
BODY_MAX_BYTES = 64 * 1024
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "lab": {"type": "apiKey", "in": "header", "name": "X-Lab-Token"},
}
_NAMED = re.compile(r"{(\w+)}")
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "enum": sorted(CODES)},
        "detail": {"type": "string"},
    },
    "additionalProperties": False,
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Described(Route):
    """A route with what OpenAPI says of it."""

    operation: dict[str, Any]
    body: Any = None


def route(
    method: str, path: str, endpoint: Endpoint, says: str, *,
    body: Any = None, guard: str = "", problems: Sequence[str] = (),
    answers: Mapping[int, str] | None = None,
) -> Described:  # fmt: skip
    """A route. body: the type that is decoded; guard: a name of SCHEMES; problems: codes it tells;
    answers: statuses that come without a code."""
    made = Described(path, endpoint, methods=[method])
    told: dict[str, Any] = {"200": {"description": "done"}} if not answers else {}
    told |= {str(status): {"description": text} for status, text in (answers or {}).items()}
    codes = {*problems, *({"bad_request", "too_large"} if body else ())}
    for status in sorted({CODES[code].status for code in codes}):
        here = sorted(code for code in codes if CODES[code].status == status)
        told[str(status)] = {
            "description": ", ".join(here),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    made.operation = {"summary": says, "responses": told}
    made.body = body
    if guard:
        made.operation["security"] = [{guard: []}]
    return made


def application(
    title: str, routes: Sequence[BaseRoute], told_as: Mapping[type[Exception], str] | None = None
) -> Starlette:
    """The routes, their description at `/openapi.json`, and one form for every refusal.

    told_as: what an exception is told as, besides Problem and TokenError.
    """
    described = [each for each in routes if isinstance(each, Described)]

    async def description(request: Request) -> JSONResponse:
        return JSONResponse(document(title, [*described, own]))

    own = route("GET", "/openapi.json", description, "This description.")
    return Starlette(
        routes=[*routes, own],
        exception_handlers={
            Problem: _refused,
            TokenError: _unauthorised,
            500: _broken,
            **{kind: _as(code) for kind, code in (told_as or {}).items()},
        },
    )


async def decoded(request: Request, kind: type[T], limit: int = BODY_MAX_BYTES) -> T:
    """The body as `kind`. Raises Problem `bad_request` or `too_large`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise Problem("too_large")
    try:
        return msgspec.json.decode(bytes(body), type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        raise Problem("bad_request") from None


def document(title: str, routes: Sequence[Described]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    bodies = [each.body for each in routes if each.body]
    schemas, components = msgspec.json.schema_components(
        bodies, ref_template="#/components/schemas/{name}"
    )
    by_route = dict(zip([id(each) for each in routes if each.body], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in routes:
        operation = dict(each.operation)
        if named := _NAMED.findall(each.path):
            text = {"type": "string"}
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": text} for name in named
            ]
        if each.body:
            content = {"application/json": {"schema": by_route[id(each)]}}
            operation["requestBody"] = {"required": True, "content": content}
        method = next(m for m in sorted(each.methods or ()) if m != "HEAD").lower()
        paths.setdefault(each.path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", "description": _guide()},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, **components},
            "securitySchemes": SCHEMES,
        },
    }


def _guide() -> str:
    codes = "\n".join(
        f"- `{code}`: {m.text}{'' if m.definite else ' (the error says whether it is definite)'}"
        for code, m in CODES.items()
    )
    closes = "\n".join(f"- {number}: {text}" for number, text in CLOSE_CODES.items())
    return f"Codes of errors:\n{codes}\n\nCodes with which a socket closes:\n{closes}"


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    meaning, headers = CODES[error.code], {}
    if error.retry_after_ms:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    body = {"error": error.code, "detail": error.detail} if error.detail else {"error": error.code}
    return JSONResponse(body, status_code=meaning.status, headers=headers)


def _as(code: str) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def handler(request: Request, error: Exception) -> JSONResponse:
        return await _refused(request, Problem(code))

    return handler


async def _unauthorised(request: Request, error: Exception) -> JSONResponse:
    log.line("unauthorised", path=request.url.path, reason=str(error))
    return JSONResponse({"error": "unauthorised"}, status_code=HTTPStatus.UNAUTHORIZED)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """Starlette raises the exception again for the server's log; the client learns nothing."""
    return JSONResponse({"error": "internal"}, status_code=HTTPStatus.INTERNAL_SERVER_ERROR)
