"""Unforgeable canaries: text that says whose it is, and that nobody but this run can have written.

    CNRY t3ZquietZ0 X k7 X 42 X <26 characters of HMAC>        (without the blanks)

Only letters and digits, so URL, JSON, HTML and SQL escaping leave it as it is; the owner is read
from the canary alone; 128 bits of HMAC-SHA256 tell a canary from an accident. `scan` also finds
canaries inside base64 (at all three alignments, both alphabets) and hexadecimal.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode, b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from lab.seeds import digest

PREFIX = "CNRY"
_TENANT = re.compile(r"[a-z0-9-]{1,40}")
_ENCODED = r"(?:[a-z0-9Z]|Y[0-9a-f]{2})"
_WHOLE = re.compile(
    rf"{PREFIX}([a-z0-9Z]{{1,40}})X({_ENCODED}{{0,60}})X([0-9]{{1,18}})X([a-z2-7]{{26}})"
)
_TORN = re.compile(rf"{PREFIX}([a-z0-9Z]{{2,40}})(X?)")
_LENGTH_MAX = 4 + 40 + 1 + 180 + 1 + 18 + 1 + 26
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_-]+")
_HEX_RUN = re.compile(r"(?:[0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class Found:
    """A canary in a text: whose it is, of which object, and where it stands.

    form: `text`, `base64` or `hex`. sound: the HMAC fits. One that is not sound is damaged or
    forged: its tenant is what it claims, or empty when that part is torn; its serial is -1.
    """

    tenant: str
    object: str
    serial: int
    form: str
    sound: bool
    at: int


def run_key(seed: int, experiment: str) -> bytes:
    """The key of one run's canaries; verifiers derive it again from the journal's first line."""
    return digest(seed, "canary", experiment)


def mint(key: bytes, tenant: str, object: str, serial: int) -> str:
    """The canary of `tenant` (its id in the system) for one write of `object`.

    Raises ValueError for a tenant outside [a-z0-9-]{1,40}, an object of more than 60 bytes, or a
    serial that is negative or longer than 18 digits: such a canary could not be read back.
    """
    if not _TENANT.fullmatch(tenant):
        raise ValueError(f"not a tenant id: {tenant!r}")
    if len(object.encode()) > 60:
        raise ValueError(f"an object's name has at most 60 bytes: {object!r}")
    if not 0 <= serial < 10**18:
        raise ValueError(f"a serial has 1 to 18 digits: {serial}")
    body = f"{PREFIX}{_encoded(tenant)}X{_encoded(object)}X{serial}X"
    return body + _signature(key, body)


def owner(key: bytes, text: str) -> str | None:
    """The tenant id when `text` is exactly one sound canary, else None."""
    match = _WHOLE.fullmatch(text)
    return _read(key, match[0])[0] if match and _read(key, match[0])[3] else None


def scan(key: bytes, text: str) -> tuple[Found, ...]:
    """Every canary in `text`, in order, sound or not, plain or encoded."""
    found = (*_plain(key, text), *_in_base64(key, text), *_in_hex(key, text))
    return tuple(sorted(found, key=lambda f: f.at))


def _encoded(name: str) -> str:
    """Letters and digits only: `-` is Z, any other byte is Y and two hexadecimal digits."""
    plain = "abcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(
        chr(b) if chr(b) in plain else "Z" if b == ord("-") else f"Y{b:02x}" for b in name.encode()
    )


def _decoded(name: str) -> str:
    raw = re.sub(rb"Y([0-9a-f]{2})|Z", _byte, name.encode())
    return raw.decode(errors="replace")


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode()) if match[1] else b"-"


def _signature(key: bytes, body: str) -> str:
    return b32encode(hmac.digest(key, body.encode(), "sha256")[:16]).decode().lower().rstrip("=")


@lru_cache(maxsize=1 << 16)
def _read(key: bytes, canary: str) -> tuple[str, str, int, bool]:
    """Tenant, object, serial and soundness of text that has the shape of a whole canary."""
    tenant, name, serial, signature = canary[len(PREFIX) :].split("X")
    sound = hmac.compare_digest(signature, _signature(key, canary[:-26]))
    return _decoded(tenant), _decoded(name), int(serial), sound


def _hits(text: str, needle: str) -> Iterator[int]:
    # str.find runs at memory speed; one alternation of all needles in `re` is 20 times slower.
    at = text.find(needle)
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def _at(key: bytes, text: str, start: int, form: str, shown_at: int) -> Found | None:
    """What stands at `start`, which begins with the prefix; None for four letters by accident."""
    if whole := _WHOLE.match(text, start):
        tenant, name, serial, sound = _read(key, whole[0])
        return Found(tenant, name, serial if sound else -1, form, sound, shown_at)
    if torn := _TORN.match(text, start):
        return Found(_decoded(torn[1]) if torn[2] else "", "", -1, form, False, shown_at)
    return None


def _plain(key: bytes, text: str) -> Iterator[Found]:
    for at in _hits(text, PREFIX):
        if found := _at(key, text, at, "text", at):
            yield found


def _base64_needles() -> tuple[tuple[int, int, str], ...]:
    """(bytes before, characters before, the characters that the prefix fixes) per alignment."""
    needles: list[tuple[int, int, str]] = []
    for before in range(3):
        one, other = (
            b64encode(filler * before + PREFIX.encode() + filler * 3).decode()
            for filler in (b"\x00", b"\xff")
        )
        same = [a == b for a, b in zip(one, other, strict=True)]
        start = same.index(True)
        end = start + [*same[start:], False].index(False)
        needles.append((before, start, one[start:end]))
    return tuple(needles)


_NEEDLES = _base64_needles()
_TO_STANDARD = str.maketrans("-_", "+/")


def _in_base64(key: bytes, text: str) -> Iterator[Found]:
    for before, skipped, needle in _NEEDLES:
        for at in _hits(text, needle):
            start = max(0, at - skipped)
            run = _BASE64_RUN.match(text, start, at + _LENGTH_MAX * 4 // 3 + 8)
            if run is None:
                continue
            body = run[0].translate(_TO_STANDARD)
            body = body[: len(body) - (len(body) % 4 == 1)]
            raw = b64decode(body + "=" * (-len(body) % 4)).decode("latin-1")
            if raw.startswith(PREFIX, before) and (found := _at(key, raw, before, "base64", start)):
                yield found


def _in_hex(key: bytes, text: str) -> Iterator[Found]:
    needle = PREFIX.encode().hex()
    for spelled in {needle, needle.upper()}:
        for at in _hits(text, spelled):
            run = _HEX_RUN.match(text, at, at + 2 * _LENGTH_MAX)
            raw = bytes.fromhex(run[0]).decode("latin-1") if run else ""
            if found := _at(key, raw, 0, "hex", at):
                yield found
