"""Who runs the tenants' agents: a process for each (`process`), or tasks in the backend (`shared`).

Both offer the same few methods; the backend opens an agent with a tenant's first socket and closes
it with the last one.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Any, Protocol

from . import tools
from .agent_process import AgentProcess
from .defects import planted
from .problems import Problem

Step = dict[str, Any]
BACK_OFF_FIRST_SECONDS, BACK_OFF_MAX_SECONDS, STABLE_SECONDS = 0.05, 5.0, 10.0


class Agents(Protocol):
    """What the rest of the backend knows of agents."""

    async def open(self, tenant: str) -> None:
        """A socket of the tenant is there; its agent is up when this returns."""
        ...

    async def close(self, tenant: str) -> None:
        """A socket of the tenant has gone; with the last one its agent ends, and is reaped."""
        ...

    async def step(self, tenant: str, request: Step) -> tuple[Step, float]:
        """One step, and the milliseconds of CPU it cost. Raises Problem `agent_crashed`."""
        ...

    def counters(self) -> dict[str, Any]:
        """tenant -> what is known of its agent."""
        ...


class SharedAgents:
    """Agents inside the backend; tools run in threads and share its interpreter with all."""

    def __init__(self) -> None:
        self._sockets: dict[str, int] = {}

    async def open(self, tenant: str) -> None:
        """Count the socket."""
        self._sockets[tenant] = self._sockets.get(tenant, 0) + 1

    async def close(self, tenant: str) -> None:
        """Uncount it, and remove the tenant's files with the last one."""
        self._sockets[tenant] -= 1
        if not self._sockets[tenant]:
            del self._sockets[tenant]
            await asyncio.to_thread(shutil.rmtree, f"/tmp/agent-{tenant}", ignore_errors=True)

    async def step(self, tenant: str, request: Step) -> tuple[Step, float]:
        """Think here; a tool goes to a thread."""
        folder = f"/tmp/agent-{tenant}"
        if "tool" not in request:
            return tools.think(request, folder), 0.0
        try:
            return await asyncio.to_thread(_measured, request, folder)
        except (OSError, MemoryError):
            raise Problem("tool_failed") from None

    def counters(self) -> dict[str, Any]:
        """tenant -> its number of sockets."""
        return {tenant: {"sockets": count} for tenant, count in self._sockets.items()}


def _measured(request: Step, folder: str) -> tuple[Step, float]:
    before = time.thread_time_ns()
    reply = tools.think(request, folder)
    return reply, (time.thread_time_ns() - before) / 1e6


class ProcessAgents:
    """A process per tenant; a dead one is replaced at the next message, after a growing pause."""

    def __init__(self) -> None:
        self._sockets: dict[str, int] = {}
        self._agents: dict[str, AgentProcess] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._pause: dict[str, tuple[float, float]] = {}  # tenant -> (not before, next pause)
        self.start_ms: list[float] = []

    async def open(self, tenant: str) -> None:
        """Start the agent with the first socket."""
        self._sockets[tenant] = self._sockets.get(tenant, 0) + 1
        try:
            await self._agent(tenant)
        except BaseException:
            await self.close(tenant)
            raise

    async def close(self, tenant: str) -> None:
        """Stop it with the last."""
        self._sockets[tenant] -= 1
        if self._sockets[tenant]:
            return
        del self._sockets[tenant]
        if planted("orphan_agent"):
            return
        self._starting.pop(tenant, None)
        self._pause.pop(tenant, None)
        if agent := self._agents.pop(tenant, None):
            await agent.stop()

    async def step(self, tenant: str, request: Step) -> tuple[Step, float]:
        """One round trip to the tenant's agent."""
        agent = await self._agent(tenant)
        before = agent.cpu_ms() if "tool" in request else 0.0
        reply = await agent.ask(request)
        if "error" in reply:
            raise Problem("tool_failed")
        return reply, (agent.cpu_ms() - before if "tool" in request else 0.0)

    def counters(self) -> dict[str, Any]:
        """tenant -> pid of its agent; `start_ms` of the latest starts."""
        pids = {tenant: {"pid": a.pid, "alive": a.alive} for tenant, a in self._agents.items()}
        return {"agents": pids, "start_ms": self.start_ms[-100:]}

    async def _agent(self, tenant: str) -> AgentProcess:
        agent = self._agents.get(tenant)
        if agent is not None and agent.alive:
            return agent
        async with self._starting.setdefault(tenant, asyncio.Lock()):
            agent = self._agents.get(tenant)
            if agent is not None and agent.alive:
                return agent
            now = time.monotonic()
            not_before, pause = self._pause.get(tenant, (0.0, BACK_OFF_FIRST_SECONDS))
            if now - not_before > STABLE_SECONDS:
                pause = BACK_OFF_FIRST_SECONDS
            await asyncio.sleep(not_before - now)
            agent = await AgentProcess.start(tenant)
            self._pause[tenant] = (time.monotonic() + pause, min(pause * 2, BACK_OFF_MAX_SECONDS))
            if tenant not in self._sockets:  # the last socket went away meanwhile
                await agent.stop()
                raise Problem("agent_unavailable")
            self._agents[tenant] = agent
            self.start_ms.append(agent.start_ms)
            return agent
