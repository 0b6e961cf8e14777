"""A tenant's agent: a small process that thinks and uses tools, without any connection of its own.

Run as `agent.py --tenant ID` with a SOCK_SEQPACKET socket as standard input: one packet is one
JSON request, one packet back its reply. With `--stream` standard input is a TCP connection, and
each packet follows its length (four bytes, big-endian). The first request says what the agent may
use. The tenant is who the socket belongs to, never what a packet says.

It ends when the socket does; the kernel ends it when the backend does (setpriv). In a container
(`--stream`) it then ends all that it started, wipes its files, and waits for the next time.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from typing import NoReturn

import tools
from mind import Mind

PACKET_MAX, TOO_LARGE = 131072, "too_large"
LIMITS = (
    (resource.RLIMIT_FSIZE, 64 * tools.MEGABYTE),
    (resource.RLIMIT_NOFILE, 64),
    (resource.RLIMIT_CORE, 0),
)
FAILURES = (OSError, MemoryError, ArithmeticError, LookupError, ValueError)
"""What a step may fail with; anything else ends the agent. A step that takes too long fails, too:
TimeoutError is an OSError."""


class Packets:
    """Requests and replies over a socket that keeps packets apart."""

    def read(self) -> bytes:
        """The next packet; b"" when there will be none."""
        return os.read(0, PACKET_MAX)

    def write(self, packet: bytes) -> None:
        """One packet."""
        os.write(0, packet)


class Frames:
    """The same over a stream: each packet follows its length."""

    def read(self) -> bytes:
        """The next packet; b"" when there will be none."""
        head = self._exactly(4)
        size = int.from_bytes(head, "big")
        return self._exactly(size) if size <= PACKET_MAX else b""

    def write(self, packet: bytes) -> None:
        """One packet."""
        left = memoryview(len(packet).to_bytes(4, "big") + packet)
        while left:
            left = left[os.write(0, left) :]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = os.read(0, size - len(data))
            if not more:
                return b""
            data += more
        return data


def main(tenant: str, channel: Packets | Frames) -> None:
    """Answer requests until the socket ends."""
    for limit, value in LIMITS:
        resource.setrlimit(limit, (value, value))
    with open("/proc/self/oom_score_adj", "w") as file:  # the kernel takes agents first
        file.write("800")
    signal.signal(signal.SIGALRM, _too_long)
    folder = f"/tmp/agent-{tenant}"
    opening = json.loads(channel.read() or b"null")
    if opening is None:
        return
    if memory_mb := int(opening["memory_mb"]):
        size = memory_mb * tools.MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    planted = frozenset(opening["planted"])
    mind = Mind(tools.Bench(folder, memory_mb, opening["pids"], planted), opening["context"])
    channel.write(b'{"id":0}')  # ready
    while packet := channel.read():
        request = json.loads(packet)
        before_ns = time.process_time_ns()
        reply: dict[str, object]
        try:
            limit_ms = 0 if "tool_without_timeout" in planted else request["limit_ms"]
            reply = in_time(mind, request, limit_ms / 1000)
        except FAILURES as error:
            reply = {"error": type(error).__name__}
        reply["id"], reply["cpu_ms"] = request["id"], (time.process_time_ns() - before_ns) / 1e6
        channel.write(packed(reply))


def packed(reply: dict[str, object]) -> bytes:
    """A reply as one packet; one that does not fit says only that, and the message is refused."""
    packet = json.dumps(reply, ensure_ascii=False).encode()
    if len(packet) <= PACKET_MAX:
        return packet
    return json.dumps({key: reply[key] for key in ("id", "cpu_ms")} | {"error": TOO_LARGE}).encode()


def in_time(mind: Mind, request: dict[str, object], seconds: float) -> dict[str, object]:
    """A step that may take `seconds` (0: any time). Raises TimeoutError, and what the step does."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return mind.step(request)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_long(number: int, frame: object) -> NoReturn:
    raise TimeoutError


def begin_again() -> NoReturn:
    """Nothing of this tenancy survives: not a process, not a file, not this memory."""
    import contextlib  # slow to import, and only needed here
    import shutil

    with contextlib.suppress(ProcessLookupError):  # it is alone
        os.kill(-1, signal.SIGKILL)  # everything in the container but its init and this process
    for entry in os.scandir("/tmp"):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)
    dial = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent_dial.py")
    os.execv(sys.executable, [sys.executable, "-S", "-E", "-s", dial])


if __name__ == "__main__":
    name = sys.argv[sys.argv.index("--tenant") + 1]
    if "--stream" in sys.argv:
        main(name, Frames())
        begin_again()
    main(name, Packets())
