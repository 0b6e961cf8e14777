"""One agent process seen from the backend: started, asked over a socket pair, watched, reaped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from .conversation import PACKET_MAX, Conversation, Step
from .defects import planted
from .problems import Problem

AGENT = Path(__file__).with_name("agent.py")
LARGE_BLOCKS_GO_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""glibc gives a packet's buffer back to the kernel at once; else the heap grows for 1,000 packets,
which looks like a leak (mallopt(3))."""
_unreaped: list[subprocess.Popen[bytes]] = []


def command(tenant: str) -> list[str]:
    """Killed with its parent, at low priority, on an interpreter that imports almost nothing."""
    return [
        "setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--",
        "nice", "-n", "10",
        sys.executable, "-S", "-E", "-s", str(AGENT), "--tenant", tenant,
    ]  # fmt: skip


class AgentProcess(Conversation):
    """Owned by one tenant; `alive` turns False the moment the kernel says that it ended."""

    def __init__(self, tenant: str, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        super().__init__()
        self._folder, self._process, self._socket = f"/tmp/agent-{tenant}", process, ours
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(process.pid)
        self.pid = process.pid
        self._loop.add_reader(ours.fileno(), self._on_packet)
        self._loop.add_reader(self._pidfd, self._on_exit)

    @classmethod
    async def start(cls, tenant: str) -> Self:
        """Start the process, in an empty folder; it has to be opened before it is asked.

        Raises OSError when the kernel has no process, memory or descriptor for it.
        """
        await asyncio.to_thread(shutil.rmtree, f"/tmp/agent-{tenant}", ignore_errors=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            process = _spawned(tenant, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(tenant, process, ours)

    async def measured(self, request: Step) -> tuple[Step, float]:
        """As `ask`, with the milliseconds of CPU that the kernel counted, children left out."""
        before = self._cpu_ms()
        reply = await self.ask(request)
        return reply, self._cpu_ms() - before

    def facts(self) -> Step:
        """Its process, and what the kernel counts for it: CPU in all, resident memory now."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            pages = 0
        memory_mb = round(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), 1)
        known = {"pid": self.pid, "cpu_ms": round(self._cpu_ms(), 1), "memory_mb": memory_mb}
        return super().facts() | known

    async def stop(self) -> None:
        """End it with everything it started, wait until it is reaped, remove its files."""
        self._hang_up()
        await asyncio.shield(self.gone.wait())
        if not planted("agent_files_left"):
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _cpu_ms(self) -> float:
        """The clock id of another process is made as `clock_getcpuclockid(3)` makes it."""
        try:
            return time.clock_gettime_ns((~self.pid << 3) | 2) / 1e6
        except OSError:
            return 0.0

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except BlockingIOError:
            raise Problem("too_many_in_flight", retry_after_ms=100) from None
        except OSError:
            raise Problem("agent_crashed") from None

    def _on_packet(self) -> None:
        try:
            packet = self._socket.recv(PACKET_MAX)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if packet:
            self._heard(packet)
        else:
            self._loop.remove_reader(self._socket.fileno())

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._socket.fileno())
        if not planted("agent_descriptor_leak"):
            os.close(self._pidfd)
        self._socket.close()
        self._hang_up()  # what a tool had started
        if planted("agent_zombies"):
            _unreaped.append(self._process)
        else:
            self._process.wait()  # reaps at once: the kernel said that it ended
        self._ended()

    def _hang_up(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # nothing left in the group


def _spawned(tenant: str, theirs: socket.socket) -> subprocess.Popen[bytes]:
    """A vfork and an exec: a millisecond or two. The session is its own, so that all of it ends."""
    return subprocess.Popen(
        command(tenant),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        env=LARGE_BLOCKS_GO_BACK,
        start_new_session=True,
        cwd="/tmp",
    )
