"""Password hashes. Passwords here are random 128-bit tokens, so the work factor is small."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Annotated

import msgspec

Email = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{3,254}$")]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


def hashed(password: str) -> str:
    """`salt$hash`, both in hex."""
    salt = os.urandom(16)
    return f"{salt.hex()}${_scrypt(password, salt).hex()}"


def matches(password: str, stored: str) -> bool:
    """Whether the password is the stored one, in constant time."""
    salt, _, digest = stored.partition("$")
    return hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), bytes.fromhex(digest))


def _scrypt(password: str, salt: bytes) -> bytes:
    words = password.encode(errors="surrogatepass")
    return hashlib.scrypt(words, salt=salt, n=1024, r=8, p=1, dklen=32)


NOBODY = hashed(os.urandom(16).hex())
"""What a password is compared with when there is no user: a refusal then takes as long."""
