"""The tools of an agent: CPU, memory, files and processes. Few imports, for agents start fast.

Each takes milliseconds of work and returns a short text. Everything a tool takes is given back,
also when it is interrupted or fails.
"""

from __future__ import annotations

import _thread
import errno
import os
import time

MEGABYTE = 1 << 20
SHELL_STEPS_PER_MS = 400
"""How far `sh` counts in a millisecond, roughly."""
COUNT = 'n=$1; while [ "$n" -gt 0 ]; do n=$((n-1)); done'


BLOCK = bytes(65536)
"""What is written to a file at once."""


class Bench:
    """Where an agent's tools work: its folder, what it may use, and which mistakes are planted.

    memory_mb: beyond it a tool fails with MemoryError; pids: processes that a tool may have at
    once. 0 is no limit.
    """

    def __init__(
        self, folder: str, memory_mb: int, pids: int, planted: frozenset[str] = frozenset()
    ) -> None:
        self.folder, self.memory_mb, self.pids, self.planted = folder, memory_mb, pids, planted
        self.kept: list[bytearray] = []
        self.written_bytes = 0  # to the disk, so far
        self.running_away = False


def cpu(amount_ms: int, bench: Bench) -> str:
    """Burn CPU time (not wall time) of this thread."""
    until = time.thread_time_ns() + amount_ms * 1_000_000
    steps = 0
    while time.thread_time_ns() < until:
        for _ in range(200):
            steps = (steps * 1103515245 + 12345) & 0x7FFFFFFF
    if "tool_keeps_results" in bench.planted:
        bench.kept.append(bytearray(1024))
    if "agent_runaway" in bench.planted and not bench.running_away:
        bench.running_away = True
        _thread.start_new_thread(_burn_for_ever, ())
    return f"burned {amount_ms} ms of CPU"


def _burn_for_ever() -> None:
    """Planted: a loop without an end, beside the tools."""
    while True:
        pass


def memory(amount_ms: int, bench: Bench) -> str:
    """Touch one megabyte per millisecond, and give it back."""
    size = max(amount_ms, 1)
    if 0 < bench.memory_mb < size:  # the kernel's own limit is behind this where there is one
        raise MemoryError
    block = bytearray(size * MEGABYTE)
    for at in range(0, len(block), 4096):
        block[at] = 1
    if "agent_memory_leak" in bench.planted:
        bench.kept.append(block)
    del block
    return f"touched {size} MB"


def files(amount_ms: int, bench: Bench) -> str:
    """Write, sync and remove a file until the time is over; at least once."""
    os.makedirs(bench.folder, exist_ok=True)
    path, until, written = f"{bench.folder}/work", time.monotonic_ns() + amount_ms * 1_000_000, 0
    while True:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            written += os.write(fd, BLOCK)
            bench.written_bytes += len(BLOCK)
            os.fsync(fd)
        finally:
            os.close(fd)
            if "agent_files_left" not in bench.planted:
                os.unlink(path)
        if time.monotonic_ns() >= until:
            if "tool_file_kept_open" in bench.planted:
                os.open(bench.folder, os.O_RDONLY)
            return f"wrote {written} bytes"


def shell(amount_ms: int, bench: Bench) -> str:
    """Let a shell count for about that long."""
    if "tool_child_left" in bench.planted:  # a helper in a session of its own, and nobody's
        os.posix_spawn("/bin/sh", ["sh", "-c", "exec sleep 600"], {}, setsid=True)
    steps = str(max(1, amount_ms) * SHELL_STEPS_PER_MS)
    (status,) = _run([["sh", "-c", COUNT, "sh", steps]])
    return f"shell ended with {os.waitstatus_to_exitcode(status)}"


def processes(amount_ms: int, bench: Bench) -> str:
    """Run as many shells as milliseconds are asked for, all at once."""
    count = max(amount_ms, 1)
    if 0 < bench.pids < count:
        raise BlockingIOError(errno.EAGAIN, "no more processes")  # as fork(2) says it
    _run([["sh", "-c", "exec sleep 0.05"]] * count)
    return f"ran {count} processes"


def _run(commands: list[list[str]]) -> list[int]:
    """Start all, wait for all; whatever interrupts ends those that still run."""
    running: list[int] = []
    done: list[int] = []
    try:
        for words in commands:
            pid = os.posix_spawn("/bin/sh", words, {})
            running.append(pid)
        while running:
            done.append(os.waitpid(running[-1], 0)[1])
            running.pop()
    finally:
        for pid in running:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    return done


TOOLS = {"cpu": cpu, "memory": memory, "files": files, "shell": shell, "processes": processes}
