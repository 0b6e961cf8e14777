"""Planted only: ways to verify a token that have been found in real code, each by its defect.

They are here and not in `tokens.py`, so that what is verified there can be read at a glance.
"""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import jwt

from .defects import planted

DEFAULT_KEY = b"change-me-in-production-please-please"
_BLIND = {"verify_signature": False}


def weakly_verified(key: str, token: str) -> dict[str, Any] | None:
    """The claims, when a planted defect lets this token pass; None when none does."""
    with contextlib.suppress(jwt.PyJWTError, ValueError, OSError, TypeError, KeyError):
        header = jwt.get_unverified_header(token)
        if planted("algorithm_none") and header["alg"].lower() == "none":
            return jwt.decode(token, options=_BLIND)
        if planted("signature_unchecked"):
            return jwt.decode(token, options=_BLIND)
        if planted("default_key"):
            return _decoded(token, DEFAULT_KEY)
        if planted("key_id_is_a_path"):
            return _decoded(token, Path("/srv/keys", header["kid"]).read_bytes())
        if planted("key_from_the_token"):
            text = header["jwk"]["k"]
            return _decoded(token, base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if planted("any_key_id"):
            return _decoded(token, bytes.fromhex(key))
    return None


def _decoded(token: str, key: bytes) -> dict[str, Any]:
    return jwt.decode(token, key, algorithms=["HS256"], options={"verify_aud": False})
