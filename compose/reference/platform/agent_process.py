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
from typing import Any, Self

import msgspec

from .problems import Problem

AGENT = Path(__file__).with_name("agent.py")
PACKET_MAX = 131072
START_SECONDS = 10.0
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def command(tenant: str) -> list[str]:
    """Killed with its parent, at low priority, on an interpreter that imports almost nothing."""
    return [
        "setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--",
        "nice", "-n", "10",
        sys.executable, "-S", "-E", "-s", str(AGENT), "--tenant", tenant,
    ]  # fmt: skip


class AgentProcess:
    """Owned by one tenant; `alive` turns False the moment the kernel says that it ended."""

    def __init__(self, tenant: str, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        self._tenant, self._process, self._socket = tenant, process, ours
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._gone = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self.alive, self.pid, self.start_ms = True, process.pid, 0.0
        self._loop.add_reader(ours.fileno(), self._on_packet)
        self._loop.add_reader(self._pidfd, self._on_exit)

    @classmethod
    async def start(cls, tenant: str) -> Self:
        """Start it and wait for its first packet. Raises Problem `agent_unavailable`."""
        began = time.monotonic()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            process = _spawned(tenant, theirs)
        finally:
            theirs.close()
        agent = cls(tenant, process, ours)
        ready = agent._expect(0)
        try:
            async with asyncio.timeout(START_SECONDS):
                await ready
        except (TimeoutError, Problem):
            await agent.stop()
            raise Problem("agent_unavailable") from None
        except asyncio.CancelledError:
            await asyncio.shield(agent.stop())
            raise
        agent.start_ms = round((time.monotonic() - began) * 1000, 1)
        return agent

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply. Raises Problem `agent_crashed` when it dies."""
        self._last_id += 1
        number = self._last_id
        waiter = self._expect(number)
        try:
            self._socket.send(_encode({**request, "id": number}))
        except BlockingIOError:
            self._waiters.pop(number)
            raise Problem("too_many_in_flight", retry_after_ms=100) from None
        except OSError:
            self._waiters.pop(number, None)
            raise Problem("agent_crashed") from None
        try:
            return await waiter
        finally:
            self._waiters.pop(number, None)

    def cpu_ms(self) -> float:
        """CPU time that the process has used, as the kernel counts it (children left out).

        The clock id of another process is made as `clock_getcpuclockid(3)` makes it.
        """
        try:
            return time.clock_gettime_ns((~self.pid << 3) | 2) / 1e6
        except OSError:
            return 0.0

    async def stop(self) -> None:
        """End it with everything it started, wait until it is reaped, remove its files."""
        self._kill_group()
        await asyncio.shield(self._gone)
        await asyncio.to_thread(shutil.rmtree, f"/tmp/agent-{self._tenant}", ignore_errors=True)

    def _expect(self, number: int) -> asyncio.Future[dict[str, Any]]:
        waiter: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._waiters[number] = waiter
        return waiter

    def _on_packet(self) -> None:
        try:
            packet = self._socket.recv(PACKET_MAX)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._loop.remove_reader(self._socket.fileno())
            return
        try:
            reply = _decode(packet)
            waiter = self._waiters.get(reply["id"])
        except (msgspec.DecodeError, LookupError, TypeError):
            self._kill_group()  # an agent that talks nonsense is ended, never believed
            return
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._socket.fileno())
        os.close(self._pidfd)
        self._socket.close()
        self._kill_group()  # what a tool had started
        self._process.wait()  # reaps at once: the kernel said that it ended
        self.alive = False
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(Problem("agent_crashed"))
        self._waiters.clear()
        if not self._gone.done():
            self._gone.set_result(None)

    def _kill_group(self) -> None:
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
        env={},
        start_new_session=True,
        cwd="/tmp",
    )
