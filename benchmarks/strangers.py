"""Strangers on the host, outside of every shield: processes of nobody's that only compute."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

BURN = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000):
        pass
"""
"""Ends with its parent, also after SIGKILL."""


@contextmanager
def strangers(count: int) -> Generator[None]:
    """So many of them, ended with the block."""
    words = [sys.executable, "-c", BURN, str(os.getpid())]
    burning = [subprocess.Popen(words) for _ in range(count)]
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()
