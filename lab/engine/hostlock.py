"""Locks between the labs of one machine; the kernel releases them when their holder dies."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO


def try_lock(name: str, folder: Path | None = None) -> IO[bytes] | None:
    """Take the named lock, or None when another process holds it; closing the file releases it.

    folder: where the lock's file lies; by default a folder of this user's under the temporary one.
    """
    place = folder or Path(tempfile.gettempdir()) / f"crosstalk-{os.getuid()}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (place / f"{name}.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
