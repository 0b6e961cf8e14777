"""What a socket shows at the door: its token, and where it comes from. Nothing else is believed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from . import log
from .auth_client import AuthClient
from .config import Backend
from .defects import planted
from .problems import Problem
from .tokens import Principal, bearer, verify

Headers = dict[bytes, bytes]


async def identified(
    scope: dict[str, Any], settings: Backend, auth: AuthClient
) -> tuple[str, Principal]:
    """The token that was shown, in one of three ways, and whom it speaks for.

    An Authorization header; a ticket in the address, which is worth one socket; or, where
    ALLOW_URL_TOKEN says so, the token itself in the address. Raises TokenError and Problem.
    """
    headers: Headers = dict(scope["headers"])
    if planted("token_in_logs"):
        log.raw({"event": "upgrade", "headers": str(headers)})
    _origin(headers, settings.allowed_origins)
    asked = parse_qs(scope["query_string"].decode("ascii", "replace"))
    if ticket := asked.get("ticket"):
        token = await auth.redeemed(ticket[0])
    elif "token" in asked and (settings.allow_url_token or planted("token_in_address")):
        token = asked["token"][0]
    else:
        token = bearer(headers.get(b"authorization", b"").decode("latin-1"))
    return token, verify(settings.jwt_key, token)


def _origin(headers: Headers, allowed: str) -> None:
    """Only browsers send an origin, and they send it whatever page they are on.

    Source: RFC 6455, section 10.2; a socket is not held to the same-origin policy.
    """
    origin = headers.get(b"origin")
    if origin is None or planted("origin_unchecked"):
        return
    if origin.decode("latin-1") not in filter(None, allowed.split(",")):
        raise Problem("foreign_origin")
