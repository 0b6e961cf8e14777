"""The tools of an agent: CPU, memory, files and shell work. Few imports, for agents start fast.

Each takes milliseconds of work and returns a short text. Everything a tool takes is given back.
"""

from __future__ import annotations

import os
import time

MEGABYTE = 1 << 20
MEMORY_MAX_MEGABYTES = 64
SHELL_STEPS_PER_MS = 400
"""How far `sh` counts in a millisecond, roughly."""


def cpu(amount_ms: int, folder: str) -> str:
    """Burn CPU time (not wall time) of this thread."""
    until = time.thread_time_ns() + amount_ms * 1_000_000
    steps = 0
    while time.thread_time_ns() < until:
        for _ in range(200):
            steps = (steps * 1103515245 + 12345) & 0x7FFFFFFF
    return f"burned {amount_ms} ms of CPU"


def memory(amount_ms: int, folder: str) -> str:
    """Touch one megabyte per millisecond (64 at most), and give it back."""
    size = min(max(amount_ms, 1), MEMORY_MAX_MEGABYTES)
    block = bytearray(size * MEGABYTE)
    for at in range(0, len(block), 4096):
        block[at] = 1
    del block
    return f"touched {size} MB"


def files(amount_ms: int, folder: str) -> str:
    """Write, sync and remove a file until the time is over; at least once."""
    os.makedirs(folder, exist_ok=True)
    path, until, written = f"{folder}/work", time.monotonic_ns() + amount_ms * 1_000_000, 0
    while True:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            written += os.write(fd, b"\0" * 65536)
            os.fsync(fd)
        finally:
            os.close(fd)
            os.unlink(path)
        if time.monotonic_ns() >= until:
            return f"wrote {written} bytes"


def shell(amount_ms: int, folder: str) -> str:
    """Let a shell count for about that long."""
    steps = str(max(1, amount_ms) * SHELL_STEPS_PER_MS)
    script = 'n=$1; while [ "$n" -gt 0 ]; do n=$((n-1)); done'
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", script, "sh", steps], {})
    _, status = os.waitpid(pid, 0)
    return f"shell ended with {os.waitstatus_to_exitcode(status)}"


TOOLS = {"cpu": cpu, "memory": memory, "files": files, "shell": shell}


def think(request: dict[str, object], folder: str) -> dict[str, object]:
    """One step of an agent: use the tool that is asked for, or compose the answer."""
    tool, value = request.get("tool"), request.get("value")
    if tool is not None:
        done = TOOLS[str(tool)](int(str(request["amount_ms"])), folder)
        return {"text": f"{request['text']}; {done}", "value": None}
    return {"text": request["text"], "value": value}
