"""Log lines as JSON on stderr. Tokens, passwords and message contents never get here."""

from __future__ import annotations

import sys
import time

import msgspec


def line(event: str, **fields: str | float | bool | None) -> None:
    """Write one line."""
    record = {"at": round(time.time(), 3), "event": event, **fields}
    sys.stderr.write(msgspec.json.encode(record).decode() + "\n")
