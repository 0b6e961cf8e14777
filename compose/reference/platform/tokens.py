"""Tokens: short-lived, signed with the run's own key, and strict about every claim."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass

import jwt

ISSUER, AUDIENCE, KEY_ID, ALGORITHM = "crosstalk-auth", "crosstalk-backend", "run-1", "HS256"
LEEWAY_SECONDS = 10
REQUIRED = ["exp", "iat", "sub", "aud", "iss", "jti"]
_ID = re.compile(r"[a-z0-9-]{1,40}")


class TokenError(Exception):
    """The token is not to be trusted; the reason is for logs, never for the client."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a verified token speaks for."""

    tenant: str
    user: str
    session: str
    expires: int  # Unix seconds


def issue(
    key: str, *, tenant: str, user: str, email: str, role: str, seconds: int
) -> tuple[str, str, int]:
    """A new token, its session id (jti) and its expiry in Unix seconds."""
    now, session = int(time.time()), uuid.uuid4().hex
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + seconds, "jti": session,
        "sub": user, "user_id": user, "email": email, "role": role, "tenant": tenant,
    }  # fmt: skip
    token = jwt.encode(claims, bytes.fromhex(key), ALGORITHM, headers={"kid": KEY_ID})
    return token, session, now + seconds


def verify(key: str, token: str) -> Principal:
    """Whom the token speaks for. Raises TokenError for anything short of perfect."""
    try:
        if jwt.get_unverified_header(token).get("kid") != KEY_ID:
            raise TokenError("unknown key id")
        claims = jwt.decode(
            token,
            bytes.fromhex(key),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED},
        )
    except jwt.PyJWTError as error:
        raise TokenError(str(error)) from None
    tenant, user = claims.get("tenant"), claims.get("user_id")
    if not (isinstance(tenant, str) and isinstance(user, str)) or user != claims["sub"]:
        raise TokenError("claims do not name a tenant and a user")
    if not (_ID.fullmatch(tenant) and _ID.fullmatch(user)):
        raise TokenError("ids are malformed")
    return Principal(tenant, user, claims["jti"], int(claims["exp"]))


def bearer(header: str | None) -> str:
    """The token of an Authorization header. Raises TokenError when there is none."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenError("no bearer token")
    return token.strip()
