"""Who runs the tenants' agents: one of its own for each (a process here, or a container that dials
in), or tasks in the backend (`shared`).

Both offer the same few methods; the backend opens an agent with a tenant's first socket and closes
it with the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .conversation import Conversation, Step
from .defects import planted
from .mind import CONTEXT_LENGTH, SAID_MAX, Mind
from .owners import CHECK_SECONDS, Owners
from .problems import Problem
from .quotas import Quotas
from .tools import Bench

BACK_OFF_FIRST_SECONDS, BACK_OFF_MAX_SECONDS, STABLE_SECONDS = 0.05, 5.0, 10.0
START_SECONDS = 10.0
GRACE_MS = 50
"""A step that is still at it this long after its deadline is interrupted inside the agent."""
IN_THE_AGENT = (
    "agent_files_left", "agent_memory_leak", "agent_runaway", "tool_child_left",
    "tool_file_kept_open", "tool_keeps_results", "tool_without_timeout",
)  # fmt: skip
"""Planted defects of the agent itself, which is told of them as it starts."""


class Agents(Protocol):
    """What the rest of the backend knows of agents."""

    async def open(self, tenant: str) -> None:
        """A socket of the tenant is there; its agent is up when this returns."""
        ...

    async def close(self, tenant: str) -> None:
        """A socket of the tenant has gone; with the last one its agent ends, and is reaped."""
        ...

    async def step(self, tenant: str, request: Step, until: float) -> tuple[Step, float]:
        """One step, until loop time `until`, and the milliseconds of CPU it cost.

        Raises Problem `agent_crashed`, `agent_unavailable`, `tool_failed`, `too_large`.
        """
        ...

    def counters(self) -> dict[str, Any]:
        """tenant -> what is known of its agent."""
        ...


class SharedAgents:
    """Agents inside the backend; tools run in threads and share its interpreter with all."""

    def __init__(self, quotas: Callable[[str], Quotas]) -> None:
        self._quotas = quotas
        self._sockets: dict[str, int] = {}
        self._minds: dict[str, Mind] = {}

    async def open(self, tenant: str) -> None:
        """Count the socket."""
        self._sockets[tenant] = self._sockets.get(tenant, 0) + 1
        if tenant not in self._minds:
            quotas = self._quotas(tenant)
            bench = Bench(f"/tmp/agent-{tenant}", quotas.memory_mb, quotas.pids)
            self._minds[tenant] = Mind(bench, [])

    async def close(self, tenant: str) -> None:
        """Uncount it, and remove the tenant's files with the last one."""
        self._sockets[tenant] -= 1
        if not self._sockets[tenant]:
            del self._sockets[tenant], self._minds[tenant]
            await asyncio.to_thread(shutil.rmtree, f"/tmp/agent-{tenant}", ignore_errors=True)

    async def step(self, tenant: str, request: Step, until: float) -> tuple[Step, float]:
        """Think here; a tool goes to a thread, which nothing can interrupt."""
        mind = self._minds[tenant]
        if "tool" not in request:
            return mind.step(request), 0.0
        try:
            return await asyncio.to_thread(_measured, mind, request)
        except (OSError, MemoryError):
            raise Problem("tool_failed") from None

    def counters(self) -> dict[str, Any]:
        """tenant -> its number of sockets."""
        return {tenant: {"sockets": count} for tenant, count in self._sockets.items()}


def _measured(mind: Mind, request: Step) -> tuple[Step, float]:
    before = time.thread_time_ns()
    reply = mind.step(request)
    return reply, (time.thread_time_ns() - before) / 1e6


class OwnAgents:
    """An agent per tenant, from `start`; a dead one is replaced at once, after a growing pause."""

    def __init__(
        self,
        start: Callable[[str], Awaitable[Conversation]],
        quotas: Callable[[str], Quotas],
        owners: Owners | None = None,
    ) -> None:
        self._start, self._quotas, self._owners = start, quotas, owners
        self._sockets: dict[str, int] = {}
        self._agents: dict[str, Conversation] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._pause: dict[str, tuple[float, float]] = {}  # tenant -> (not before, next pause)
        self._said: dict[str, list[str]] = {}  # what a restarted agent has to know
        self._spare: list[Conversation] = []
        self._watches: dict[str, asyncio.Task[None]] = {}
        self.start_ms: list[float] = []

    async def open(self, tenant: str) -> None:
        """Start the agent with the first socket."""
        self._sockets[tenant] = self._sockets.get(tenant, 0) + 1
        try:
            await self._agent(tenant)
        except BaseException:
            await asyncio.shield(self.close(tenant))
            raise

    async def close(self, tenant: str) -> None:
        """Stop it with the last."""
        self._sockets[tenant] -= 1
        if self._sockets[tenant]:
            return
        del self._sockets[tenant]
        if watch := self._watches.pop(tenant, None):
            watch.cancel()
        if planted("orphan_agent"):
            return
        self._starting.pop(tenant, None)
        self._pause.pop(tenant, None)
        self._said.pop(tenant, None)
        agent = self._agents.pop(tenant, None)
        if agent is not None and planted("agent_reused"):
            self._spare.append(agent)
        elif agent is not None:
            await agent.stop()
        if self._owners is not None:
            await self._owners.release(tenant)

    async def step(self, tenant: str, request: Step, until: float) -> tuple[Step, float]:
        """One round trip to the tenant's agent."""
        agent = await self._agent(tenant)
        left_ms = (until - asyncio.get_running_loop().time()) * 1000
        request = {**request, "limit_ms": max(left_ms, 0.0) + GRACE_MS}
        if said := request.get("said", "")[:SAID_MAX]:
            request["said"] = said
        if "tool" in request:
            reply, cost_ms = await agent.measured(request)
        else:
            reply, cost_ms = await agent.ask(request), 0.0
        if said:
            key = request.get("thread", "") if planted("agent_context_by_thread") else tenant
            self._said[key] = [*self._said.get(key, ()), said][-CONTEXT_LENGTH:]
        if error := reply.get("error"):
            raise Problem("too_large" if error == "too_large" else "tool_failed")
        return reply, cost_ms

    def counters(self) -> dict[str, Any]:
        """tenant -> what its agent is and uses; `start_ms` of the latest starts."""
        known = {tenant: agent.facts() for tenant, agent in self._agents.items()}
        return {"agents": known, "start_ms": self.start_ms}

    async def _watched(self, tenant: str) -> None:
        """Replace the agent whenever it dies, so that the next message finds one.

        An agent that is another replica's now starts here again, and takes the claim back, with the
        tenant's next message; that start makes the next watch.
        """
        while tenant in self._sockets:
            try:
                agent = await self._agent(tenant)
            except Problem:
                await asyncio.sleep(BACK_OFF_MAX_SECONDS)
                continue
            if await self._taken_over(tenant, agent):
                if self._agents.get(tenant) is not agent:  # that message was here already
                    continue
                del self._watches[tenant]
                return
            if planted("crash_restarts_all") and self._agents.get(tenant) is agent:
                others = [self._agents.pop(t) for t in list(self._agents) if t != tenant]
                await asyncio.gather(*(other.stop() for other in others))

    async def _taken_over(self, tenant: str, agent: Conversation) -> bool:
        """Wait until the agent has ended; True when that was because another replica claimed it.

        That is no crash: its next start here is not put off.
        """
        while self._owners is not None and not agent.gone.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(agent.gone.wait(), CHECK_SECONDS)
            if not agent.gone.is_set() and await self._owners.lost(tenant):
                self._pause.pop(tenant, None)
                await agent.stop()
                return True
        await agent.gone.wait()
        return False

    async def _agent(self, tenant: str) -> Conversation:
        agent = self._agents.get(tenant)
        if agent is not None and agent.alive:
            return agent
        name = "" if planted("start_lock_shared") else tenant
        async with self._starting.setdefault(name, asyncio.Lock()):
            agent = self._agents.get(tenant)
            if agent is not None and agent.alive:
                return agent
            await self._paused(tenant)
            agent = await self._started(tenant)
            if tenant not in self._sockets:  # the last socket went away meanwhile
                await agent.stop()
                raise Problem("agent_unavailable")
            self._agents[tenant] = agent
            if tenant not in self._watches:
                self._watches[tenant] = asyncio.ensure_future(self._watched(tenant))
            return agent

    async def _paused(self, tenant: str) -> None:
        """Not at all before the first start; before each one after a crash, twice as long."""
        now = time.monotonic()
        not_before, pause = self._pause.get(tenant, (0.0, BACK_OFF_FIRST_SECONDS))
        if now - not_before > STABLE_SECONDS:
            pause = BACK_OFF_FIRST_SECONDS
        await asyncio.sleep(not_before - now)
        began = time.monotonic()
        self._pause[tenant] = (began + pause, min(pause * 2, BACK_OFF_MAX_SECONDS))

    async def _started(self, tenant: str) -> Conversation:
        """A new agent that is ready. Raises Problem `agent_unavailable`."""
        began, agent = time.monotonic(), None
        if planted("agent_reused") and self._spare:
            return self._spare.pop()
        try:
            async with asyncio.timeout(START_SECONDS):
                if self._owners is not None:
                    await self._owners.claim(tenant)
                agent = await self._start(tenant)
                await agent.open(self._opening(tenant))
        except BaseException as error:
            if agent is not None:
                await asyncio.shield(agent.stop())
            if isinstance(error, OSError | Problem):  # no process, no memory; no answer in time
                raise Problem("agent_unavailable") from None
            raise
        agent.start_ms = round((time.monotonic() - began) * 1000, 1)
        self.start_ms = [*self.start_ms, agent.start_ms][-100:]
        return agent

    def _opening(self, tenant: str) -> Step:
        """What the agent may use, and what was said to it before it crashed."""
        quotas = self._quotas(tenant)
        key = "main" if planted("agent_context_by_thread") else tenant
        return {
            "memory_mb": 0 if planted("agent_memory_unlimited") else quotas.memory_mb,
            "pids": 0 if planted("agent_pids_unlimited") else quotas.pids,
            "context": self._said.get(key, []),
            "planted": [name for name in IN_THE_AGENT if planted(name)],
        }
