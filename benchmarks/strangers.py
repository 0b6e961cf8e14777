"""Strangers on the host, outside of every shield: processes of nobody's that only compute."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def strangers(count: int) -> Generator[None]:
    """So many of them, ended with the block."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()
