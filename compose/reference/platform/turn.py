"""One message from acceptance to answer: state, rows, model, agent, and only then the writes.

What an action asks of the database before the model is asked, and what it writes in the end, is a
function of its own, in the module of its kind; KINDS is the list of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from . import asking, claiming, editing, reading, spending, working, writing
from .admission import Admission, Tally
from .agents import Agents
from .claiming import Claims
from .defects import planted
from .llm_client import LlmClient
from .memory import State
from .messages import (
    Action,
    Begin,
    Claim,
    Edit,
    History,
    List,
    Outcome,
    Read,
    Report,
    Say,
    Spend,
    UserMessage,
    Work,
    Write,
    answer,
)  # fmt: skip
from .outbox import Relay
from .problems import Problem
from .state import States
from .tenant_tx import Database

Step = Callable[["Turn", Any, State], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """What an action does: `found` before the model is asked, `done` after the agent's step.

    Only `done` writes; either may return the value that the answer tells.
    """

    found: Step | None = None
    done: Step | None = None


KINDS: dict[type[Action], Kind] = {
    Read: Kind(found=reading.read),
    List: Kind(found=reading.listed),
    History: Kind(found=reading.history),
    Report: Kind(found=reading.report),
    Work: Kind(found=working.query),
    Write: Kind(done=writing.write),
    Say: Kind(done=writing.say),
    Begin: Kind(done=writing.begin),
    Spend: Kind(done=spending.spend),
    Edit: Kind(done=editing.edit),
    Claim: Kind(done=claiming.claim),
    Outcome: Kind(done=asking.outcome),
}


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything a turn needs; made once."""

    states: States
    database: Database
    llm: LlmClient
    agents: Agents
    admission: Admission
    claims: Claims
    relay: Relay
    cache: dict[tuple[str, ...], tuple[str, str | None]]


@dataclass(slots=True)
class Turn:
    """One message of one tenant; `tenant`, `user` and `holder` (the session) are the token's."""

    rooms: Rooms
    tenant: str
    user: str
    holder: str
    tally: Tally
    message: UserMessage
    until: float  # loop time by which the answer must be out
    writing: bool = False  # from here on a failure leaves the outcome unknown

    @property
    def database(self) -> Database:
        """The way to the tenant's rows."""
        return self.rooms.database

    async def run(self) -> str:
        """The answer's text. Raises Problem."""
        action = self.message.metadata.action
        if planted("response_cache") and isinstance(action, Read | List):
            cached = self.rooms.cache.get(_cache_key(action))
            if cached is not None:
                return answer(self.message, self.tenant, *cached)
        kind = KINDS[type(action)]
        state = await self.rooms.states.load(self.tenant, self.user, self.until)
        found = await kind.found(self, action, state) if kind.found else None
        prompt = self._prompt(action)
        text = await self.rooms.llm.complete(self.tenant, prompt, self.until, self._paid)
        reply, value = await self._thought(action, text), found
        if kind.done:
            self.writing = True
            value = await kind.done(self, action, state)
        if planted("response_cache") and isinstance(action, Read | List):
            self.rooms.cache[_cache_key(action)] = (reply, value)
        return answer(self.message, self.tenant, reply, value)

    def _paid(self, tokens: int) -> None:
        """What the model read and wrote for this message, whatever became of it."""
        self.rooms.admission.charge(self.tally, "tokens", tokens)

    def _prompt(self, action: Action) -> str:
        return f"{type(action).__name__.lower()} {self.message.content}"

    async def _thought(self, action: Action, text: str) -> str:
        """The agent's step: one round trip, with a tool when the action asks for one."""
        agents = self.rooms.agents
        if not isinstance(action, Work) or action.work == "query":
            said, thread = self.message.content, self.message.thread_id
            request = {"text": text, "said": said, "thread": thread}
            reply, _ = await agents.step(self.tenant, request, self.until)
            return reply["text"]
        admission, cost_ms = self.rooms.admission, 0.0
        admission.begin(self.tally, "cpu", action.amount_ms, time.monotonic())
        request = {"text": text, "tool": action.work, "amount_ms": action.amount_ms}
        try:
            reply, cost_ms = await agents.step(self.tenant, request, self.until)
            if not planted("disk_unmetered"):
                admission.charge(self.tally, "disk", max(0.0, float(reply["disk_kb"])))
            if action.work in ("shell", "processes"):  # a child's CPU, counted elsewhere
                cost_ms = max(cost_ms, action.amount_ms)
        except (asyncio.CancelledError, Problem):
            cost_ms = action.amount_ms
            raise
        finally:
            admission.settle(self.tally, "cpu", action.amount_ms, cost_ms)
        return reply["text"]


def _cache_key(action: Read | List) -> tuple[str, ...]:
    """The mistake: no tenant in it."""
    return ("read", action.key) if isinstance(action, Read) else ("list",)
