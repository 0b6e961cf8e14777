"""Log lines as JSON on stderr, with whatever could be a secret taken out.

Message contents are never passed here. What libraries say goes through the same door: an exception
is told by its kind and the lines of code it passed, never by its text, which may hold a tenant's
words.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback

import msgspec

HIDDEN = "[hidden]"
UNHANDLED = "unhandled exception (Traceback below, without its words)"
_SECRET_FIELD = re.compile(r"token|password|secret|authorization|cookie|ticket|key$|content", re.I)
_SECRET_TEXT = re.compile(
    r"eyJ[\w-]+\.[\w-]*\.?[\w-]*"  # a JSON Web Token
    r"|\b[0-9a-fA-F]{32,}\b"  # a key, a password of ours, a session
    r"|(?<=bearer )\S+"
    r"|(?<=[?&]token=)[^&\s\"']+|(?<=[?&]ticket=)[^&\s\"']+|(?<=://)[^/\s@]+(?=@)",
    re.I,
)

Field = str | float | bool | list[str] | None


def line(event: str, **fields: Field) -> None:
    """Write one line. Fields named like a secret are hidden, and secrets inside of texts too."""
    record = {name: _clean(name, value) for name, value in fields.items()}
    raw({"at": round(time.time(), 3), "event": redacted(event), **record})


def raw(record: dict[str, Field]) -> None:
    """Write one record as it is."""
    sys.stderr.write(msgspec.json.encode(record).decode(errors="replace") + "\n")


def redacted(text: str) -> str:
    """The text without tokens, keys, and passwords inside of addresses."""
    return _SECRET_TEXT.sub(HIDDEN, text)


def take_over_libraries() -> None:
    """Send what libraries log (uvicorn, asyncio) through `line`, from warnings up."""
    root = logging.getLogger()
    root.handlers = [_Handler()]
    root.setLevel(logging.WARNING)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """One record of a library as one line."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, UnicodeDecodeError) and record.name == "uvicorn.error":
            return  # a client's text frame that is not UTF-8; its socket closes with 1007
        if error is None:
            line(record.getMessage(), level=record.levelname, logger=record.name)
            return
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in frames]
        line(UNHANDLED, logger=record.name, error=type(error).__name__, where=where)


def _clean(name: str, value: Field) -> Field:
    if _SECRET_FIELD.search(name):
        return HIDDEN
    return redacted(value) if isinstance(value, str) else value
