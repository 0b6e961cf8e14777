"""Named random streams: one seed, and a generator of its own for everything that draws.

A stream depends on the seed and its name only, so removing one event of a schedule leaves every
other event as it was: the rule that makes schedules minimisable.
"""

from __future__ import annotations

import hashlib
from random import Random


def digest(seed: int, *names: str) -> bytes:
    """32 bytes that depend on the seed and the stream's name only."""
    text = "\x1f".join((str(seed), *names))
    return hashlib.sha256(text.encode()).digest()


def stream(seed: int, *names: str) -> Random:
    """An independent generator for the stream called `names` under `seed`."""
    return Random(digest(seed, *names))
