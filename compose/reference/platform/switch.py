"""`PUT /defects [name...]`, with the header X-Lab-Token, replaces the set of planted defects.

It exists only where the lab's token is set.
"""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute

from . import api
from .config import SettingsError
from .defects import replant
from .problems import Problem


def routes(token: str) -> list[BaseRoute]:
    """The switch; none without a token."""

    async def switch(request: Request) -> JSONResponse:
        given = request.headers.get("x-lab-token", "")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise Problem("forbidden")
        names = frozenset(await api.decoded(request, list[str]))
        try:
            return JSONResponse({"planted": sorted(replant(names, token))})
        except SettingsError as error:
            raise Problem("bad_request", detail=str(error)) from None

    if not token:
        return []
    says = "Replace the set of planted defects."
    return [
        api.route("PUT", "/defects", switch, says, body=list[str], guard="lab",
                  problems=("forbidden",))
    ]  # fmt: skip
