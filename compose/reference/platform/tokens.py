"""Tokens: short-lived, signed with the run's own key, and strict about every claim.

The rules are those of RFC 8725 (JSON Web Token best current practices): one algorithm, pinned; a
list of key ids; issuer and audience checked; nothing taken from the token that chooses how it is
verified.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt

from .config import TOKEN_MAX_SECONDS
from .defects import planted
from .weak_tokens import weakly_verified

ISSUER, AUDIENCE, KEY_ID, ALGORITHM = "crosstalk-auth", "crosstalk-backend", "run-1", "HS256"
SERVICE_AUDIENCE, SERVICE_SECONDS = "crosstalk-auth", 30
LEEWAY_SECONDS = 10
REQUIRED = ("exp", "iat", "sub", "aud", "iss", "jti", "sid")
_ID = re.compile(r"[a-z0-9-]{1,40}")
_SESSION = re.compile(r"[0-9a-f]{32}")


class TokenError(Exception):
    """The token is not to be trusted; the reason is for logs, never for the client."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a verified token speaks for."""

    tenant: str
    user: str
    session: str
    expires: int  # Unix seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a token says of its user."""

    tenant: str
    user: str
    email: str
    role: str


def new_session() -> str:
    """An id that nobody guesses: 122 random bits."""
    return uuid.uuid4().hex


def issue(key: str, account: Account, session: str, seconds: int) -> tuple[str, int]:
    """A new token of a session, and its expiry in Unix seconds."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + seconds, "jti": uuid.uuid4().hex,
        "sid": session, "sub": account.user, "user_id": account.user, "email": account.email,
        "role": account.role, "tenant": account.tenant,
    }  # fmt: skip
    return _signed(key, claims), now + seconds


def issue_service(key: str) -> str:
    """What the backend shows to the auth service; no tenant's door opens to it."""
    now = int(time.time())
    return _signed(
        key,
        {
            "iss": ISSUER, "aud": SERVICE_AUDIENCE, "iat": now, "exp": now + SERVICE_SECONDS,
            "jti": uuid.uuid4().hex, "sub": "backend", "sid": "",
        },
    )  # fmt: skip


def verify(key: str, token: str) -> Principal:
    """Whom the token speaks for. Raises TokenError for anything short of perfect."""
    claims = weakly_verified(key, token) or _claims(key, token, AUDIENCE)
    tenant, user, session = claims.get("tenant"), claims.get("user_id"), claims.get("sid")
    if not all(isinstance(each, str) for each in (tenant, user, session)) or user != claims["sub"]:
        raise TokenError("claims do not name a tenant, a user and a session")
    if not (_ID.fullmatch(tenant) and _ID.fullmatch(user) and _SESSION.fullmatch(session)):
        raise TokenError("ids are malformed")
    try:
        return Principal(tenant, user, session, int(claims["exp"]))
    except (OverflowError, ValueError):
        raise TokenError("exp is not a time") from None


def verify_service(key: str, token: str) -> None:
    """Raises TokenError unless the token is the backend's own."""
    if _claims(key, token, SERVICE_AUDIENCE)["sub"] != "backend":
        raise TokenError("not a service")


def bearer(header: str | None) -> str:
    """The token of an Authorization header. Raises TokenError when there is none."""
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenError("no bearer token")
    return token.strip()


def _signed(key: str, claims: dict[str, Any]) -> str:
    return jwt.encode(claims, bytes.fromhex(key), ALGORITHM, headers={"kid": KEY_ID})


def _claims(key: str, token: str, audience: str) -> dict[str, Any]:
    try:
        if jwt.get_unverified_header(token).get("kid") != KEY_ID:
            raise TokenError("unknown key id")
        claims = jwt.decode(
            token,
            bytes.fromhex(key),
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            leeway=_leeway_seconds(),
            options={
                "require": [c for c in REQUIRED if c != "exp" or not planted("exp_not_required")],
                "verify_aud": not planted("audience_unchecked"),
                "verify_iss": not planted("issuer_unchecked"),
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise TokenError(str(error)) from None
    if "exp" in claims and not 0 < claims["exp"] - claims["iat"] <= TOKEN_MAX_SECONDS:
        raise TokenError("no token of ours lives that long")
    if planted("exp_not_required"):
        claims.setdefault("exp", int(time.time()) + 365 * 86400)
    return claims


def _leeway_seconds() -> int:
    if planted("leeway_of_an_hour"):
        return 3600
    return 0 if planted("no_leeway") else LEEWAY_SECONDS
