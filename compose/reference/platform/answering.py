"""One message from acceptance to answer: state, rows, model, agent, and only then the writes.

What an action asks of the database before the model is asked, and what it writes in the end, is a
function of its own, in the module of its kind; KINDS is the list of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import asking, claiming, editing, reading, spending, working, writing
from .defects import planted
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
    Work,
    Write,
    answer,
)  # fmt: skip
from .problems import Problem
from .turn import Turn

Step = Callable[[Turn, Any, State], Awaitable[str | None]]


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


async def answered(turn: Turn) -> str:
    """The answer's text. Raises Problem."""
    action = turn.message.metadata.action
    if planted("response_cache") and isinstance(action, Read | List):
        cached = turn.rooms.cache.get(_cache_key(action))
        if cached is not None:
            return answer(turn.message, turn.tenant, *cached)
    kind = KINDS[type(action)]
    state = await turn.rooms.states.load(turn.tenant, turn.user, turn.until)
    found = await kind.found(turn, action, state) if kind.found else None
    prompt = f"{type(action).__name__.lower()} {turn.message.content}"
    text = await turn.rooms.llm.complete(turn.tenant, prompt, turn.until, partial(_paid, turn))
    reply, value = await _thought(turn, action, text), found
    if kind.done:
        turn.writing = True
        value = await kind.done(turn, action, state)
    if planted("response_cache") and isinstance(action, Read | List):
        turn.rooms.cache[_cache_key(action)] = (reply, value)
    return answer(turn.message, turn.tenant, reply, value)


def _paid(turn: Turn, tokens: int) -> None:
    """What the model read and wrote for this message, whatever became of it."""
    turn.rooms.admission.charge(turn.tally, "tokens", tokens)


async def _thought(turn: Turn, action: Action, text: str) -> str:
    """The agent's step: one round trip, with a tool when the action asks for one."""
    agents = turn.rooms.agents
    if not isinstance(action, Work) or action.work == "query":
        said, thread = turn.message.content, turn.message.thread_id
        request = {"text": text, "said": said, "thread": thread}
        reply, _ = await agents.step(turn.tenant, request, turn.until)
        return reply["text"]
    admission, cost_ms = turn.rooms.admission, 0.0
    admission.begin(turn.tally, "cpu", action.amount_ms, time.monotonic())
    request = {"text": text, "tool": action.work, "amount_ms": action.amount_ms}
    try:
        reply, cost_ms = await agents.step(turn.tenant, request, turn.until)
        if not planted("disk_unmetered"):
            admission.charge(turn.tally, "disk", max(0.0, float(reply["disk_kb"])))
        if action.work in ("shell", "processes"):  # a child's CPU, counted elsewhere
            cost_ms = max(cost_ms, action.amount_ms)
    except (asyncio.CancelledError, Problem):
        cost_ms = action.amount_ms
        raise
    finally:
        admission.settle(turn.tally, "cpu", action.amount_ms, cost_ms)
    return reply["text"]


def _cache_key(action: Read | List) -> tuple[str, ...]:
    """The mistake: no tenant in it."""
    return ("read", action.key) if isinstance(action, Read) else ("list",)
