"""One message from acceptance to answer: state, rows, model, agent, and only then the writes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import asyncpg
import msgspec

from .admission import Admission, Tally
from .agents import Agents
from .defects import planted
from .llm_client import LlmClient
from .memory import State
from .messages import Edit, List, Read, Say, Spend, UserMessage, Work, Write, answer
from .problems import Problem
from .state import States
from .tenant_tx import Database

INSERT = """
INSERT INTO messages (tenant_id, id, thread_id, user_id, key, content)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, id) DO NOTHING RETURNING seq
"""
LATEST = """
SELECT seq, content FROM messages WHERE tenant_id = $1 AND key = $2 ORDER BY seq DESC LIMIT 1
"""
LIST = "SELECT key, content FROM messages WHERE tenant_id = $1 ORDER BY seq DESC LIMIT 20"
SPEND = """
WITH entry AS (
  INSERT INTO credit_ledger (tenant_id, message_id, user_id, amount)
  VALUES ($1, $2, $3, -$4::bigint)
  ON CONFLICT (tenant_id, message_id) DO NOTHING RETURNING 1)
UPDATE credits SET balance = balance - $4
WHERE tenant_id = $1 AND user_id = $3 AND balance >= $4 AND EXISTS (SELECT 1 FROM entry)
RETURNING balance
"""
EDIT = """
UPDATE agent_configurations SET version = version + 1, updated_at = now()
WHERE tenant_id = $1 AND name = $2 AND version = $3 RETURNING version
"""
BURN = """
SELECT burned, extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000 AS cost_ms
FROM (SELECT sum(sqrt(n)) AS burned FROM generate_series(1, $1::bigint) AS n OFFSET 0) AS work
"""
ROWS_PER_MS = 9000
"""How many rows the burning query gets through in a millisecond, roughly."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything a turn needs; made once."""

    states: States
    database: Database
    llm: LlmClient
    agents: Agents
    admission: Admission
    cache: dict[tuple[str, ...], tuple[str, str | None]]


@dataclass(slots=True)
class Turn:
    """One message of one tenant; `tenant` and `user` come from the token."""

    rooms: Rooms
    tenant: str
    user: str
    tally: Tally
    message: UserMessage
    until: float  # loop time by which the answer must be out
    writing: bool = False  # from here on a failure leaves the outcome unknown

    async def run(self) -> str:
        """The answer's text. Raises Problem."""
        action = self.message.metadata.action
        if planted("response_cache") and isinstance(action, Read | List):
            cached = self.rooms.cache.get(_cache_key(action))
            if cached is not None:
                return answer(self.message, self.tenant, *cached)
        state = await self.rooms.states.load(self.tenant, self.user)
        found = await self._found(action, state)
        text = await self.rooms.llm.complete(self._prompt(action), self.until)
        reply, value = await self._thought(action, text, found)
        self.writing = isinstance(action, Write | Say | Spend | Edit)
        done = await self._written(action, state)
        if planted("response_cache") and isinstance(action, Read | List):
            self.rooms.cache[_cache_key(action)] = (reply, value)
        return answer(self.message, self.tenant, reply, done if done is not None else value)

    def _prompt(self, action: object) -> str:
        return f"{type(action).__name__.lower()} {self.message.content}"

    async def _found(self, action: object, state: State) -> str | None:
        """What the database has to say before the model is asked."""
        if isinstance(action, Read):
            async with self.rooms.database.tenant_tx(self.tenant, self.until) as tx:
                row = await tx.fetchrow(LATEST, self.tenant, action.key)
            held = state.memory.get(action.key)
            newest = max(filter(None, (held, (row[0], row[1]) if row else None)), default=None)
            return newest[1] if newest else None
        if isinstance(action, List):
            async with self.rooms.database.tenant_tx(self.tenant, self.until) as tx:
                rows = await tx.fetch(LIST, self.tenant)
            return msgspec.json.encode([[row[0], row[1]] for row in rows]).decode()
        if isinstance(action, Work) and action.work == "query":
            return await self._queried(action.amount_ms)
        return None

    async def _queried(self, amount_ms: int) -> str:
        """Query work, charged with what the server says it took."""
        admission, began = self.rooms.admission, time.monotonic()
        admission.begin(self.tally, "database", amount_ms, began)
        cost_ms = 0.0
        try:
            tx = self.rooms.database.tenant_tx(self.tenant, self.until, cost_ms=amount_ms)
            async with tx as connection:
                began = time.monotonic()
                try:
                    row = await connection.fetchrow(BURN, amount_ms * ROWS_PER_MS)
                    cost_ms = float(row["cost_ms"])
                except BaseException:
                    cost_ms = (time.monotonic() - began) * 1000
                    raise
        except asyncpg.QueryCanceledError:
            raise Problem("deadline") from None
        finally:
            admission.settle(self.tally, "database", amount_ms, cost_ms)
        return f"{cost_ms:.1f} ms of query"

    async def _thought(
        self, action: object, text: str, found: str | None
    ) -> tuple[str, str | None]:
        """The agent's step: one round trip, with a tool when the action asks for one."""
        agents = self.rooms.agents
        if not isinstance(action, Work) or action.work == "query":
            reply, _ = await agents.step(self.tenant, {"text": text, "value": found})
            return reply["text"], reply["value"]
        admission, cost_ms = self.rooms.admission, 0.0
        admission.begin(self.tally, "cpu", action.amount_ms, time.monotonic())
        request = {"text": text, "tool": action.work, "amount_ms": action.amount_ms}
        try:
            reply, cost_ms = await agents.step(self.tenant, request)
            if action.work == "shell":  # its CPU is a child's, which the kernel counts elsewhere
                cost_ms = max(cost_ms, action.amount_ms)
        except (asyncio.CancelledError, Problem):
            cost_ms = action.amount_ms
            raise
        finally:
            admission.settle(self.tally, "cpu", action.amount_ms, cost_ms)
        return reply["text"], reply["value"]

    async def _written(self, action: object, state: State) -> str | None:
        """What the action writes; nothing has been written before this."""
        if isinstance(action, Write):
            seq = await self._inserted(action.key, action.value)
            await self.rooms.states.remember(
                self.tenant, self.user, state,
                key=action.key, value=action.value, seq=seq, note=self.message.metadata.message_id,
            )  # fmt: skip
            return None
        if isinstance(action, Say):
            await self._inserted(None, self.message.content)
        if isinstance(action, Spend):
            return await self._spent(action.amount)
        if isinstance(action, Edit):
            async with self.rooms.database.tenant_tx(self.tenant, self.until, writes=True) as tx:
                version = await tx.fetchval(EDIT, self.tenant, action.name, action.version)
                if version is None:
                    raise Problem("version_conflict")
            return str(version)
        return None

    async def _inserted(self, key: str | None, content: str) -> int:
        message = self.message
        try:
            async with self.rooms.database.tenant_tx(self.tenant, self.until, writes=True) as tx:
                seq = await tx.fetchval(
                    INSERT, self.tenant, message.metadata.message_id, message.thread_id,
                    self.user, key, content,
                )  # fmt: skip
                if seq is None:
                    raise Problem("duplicate_message")
        except asyncpg.ForeignKeyViolationError:
            raise Problem("unknown_thread") from None
        return seq

    async def _spent(self, amount: int) -> str:
        message_id = self.message.metadata.message_id
        async with self.rooms.database.tenant_tx(self.tenant, self.until, writes=True) as tx:
            balance = await tx.fetchval(SPEND, self.tenant, message_id, self.user, amount)
            if balance is None:  # rolls the ledger row back, too
                raise Problem("insufficient_credits")
        return str(balance)


def _cache_key(action: Read | List) -> tuple[str, ...]:
    """The mistake: no tenant in it."""
    return ("read", action.key) if isinstance(action, Read) else ("list",)
