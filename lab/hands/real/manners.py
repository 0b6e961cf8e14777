"""The misbehaviours themselves, one coroutine each, on connections that are opened for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from lab.actions import Action, Read, Work, Write
from lab.errors import UsageError
from lab.hands.clients import CONNECTIONS_MAX, PER_SECOND_MAX, Manner
from lab.hands.real.relay import Relay
from lab.load.outcome import classify
from lab.system import Session

IN_FLIGHT_MAX = 256
"""Beats beyond this are dropped: the system is slower than it is asked, and memory is finite."""

DEADLINE_SECONDS, PATIENCE_SECONDS = 3.0, 0.05
GARBAGE_BYTES = 512

HOSTILE = (
    "'; DROP TABLE messages; --",
    "\u202e\u0000\ud7ff\ufffd",
    "{" * 2000,
    "%s%n${jndi:ldap://x}",
    "\n\r\t\x1b[2J" * 100,
    "A" * 60_000,
    "\U0001f9e8" * 4000,
    '{"__proto__": {"tenant_id": "*"}}',
)
"""Content that is well-formed for the protocol and has broken somebody's parser, log or page."""


@dataclass
class Party:
    """What a misbehaviour works with; sessions that it drops are gone at once, without a word."""

    connect: Callable[[], Awaitable[Session | None]]
    relays: tuple[Relay, ...]
    counts: Counter[str]
    path: Path
    sessions: list[Session] = field(default_factory=list[Session])
    numbers: count[int] = field(default_factory=count)

    async def join(self, connections: int) -> bool:
        """Open what is missing; whether anything is open."""
        missing = range(connections - len(self.sessions))
        made = await asyncio.gather(*(self.connect() for _ in missing))
        self.sessions += [session for session in made if session is not None]
        return bool(self.sessions)

    def leave(self, *which: Session) -> None:
        """Reset these connections, or all of them."""
        for session in which or tuple(self.sessions):
            session.abort()
            if session in self.sessions:
                self.sessions.remove(session)

    async def ask(self, session: Session, action: Action, seconds: float) -> None:
        """One action; what comes of it is counted. A session that breaks is left."""
        self.counts["sent"] += 1
        try:
            async with asyncio.timeout(seconds):
                op = f"lab-{id(self):x}-{next(self.numbers)}"
                await session.perform(action, op=op, deadline_seconds=DEADLINE_SECONDS)
            self.counts["answered"] += 1
        except Exception as error:  # noqa: BLE001 - classify raises the driver's own bugs
            outcome, why = classify(error, self.path)
            self.counts["refused" if outcome == "fail" else "lost"] += 1
            if why == "reset":
                self.leave(session)
        finally:
            session.overheard()


Beat = Callable[[Party, Manner, Random], Awaitable[None]]


def check(actions: frozenset[type[Action]], manner: Manner) -> None:
    """Raise UsageError for what a system with these actions, or the lab, cannot do."""
    wanted = type(_action(manner, 0, Random(0)))
    if wanted not in actions and manner.what not in ("reconnect", "garbage"):
        raise UsageError(f"this system has no action {wanted.__name__}", where=manner.what)
    if manner.connections > CONNECTIONS_MAX or manner.per_second > PER_SECOND_MAX:
        raise UsageError("more than the lab can do beside measuring", where=manner.what)


async def misbehave(party: Party, manner: Manner, begun: Callable[[], None]) -> None:
    """Connect, and then do what the manner says, until cancelled.

    A tenant that is not let in goes on trying: that is the system's doing, and the counts say so.
    """
    try:
        await party.join(manner.connections)
        if manner.what == "deaf":
            for relay in party.relays:
                relay.deafen()
        begun()
        await _paced(party, manner, BEATS[manner.what])
    finally:
        party.leave()


async def _paced(party: Party, manner: Manner, beat: Beat) -> None:
    """Beats at their due times, bounded in flight; an exception in one is a bug and ends it all."""
    draw, due = Random(manner.seed), asyncio.get_running_loop().time()
    flying: set[asyncio.Task[None]] = set()

    async def one() -> None:
        await beat(party, manner, draw)

    async with asyncio.TaskGroup() as beats:
        while True:
            if len(flying) < IN_FLIGHT_MAX:
                task = beats.create_task(one())
                flying.add(task)
                task.add_done_callback(flying.discard)
            else:
                party.counts["dropped"] += 1
            due += 1 / manner.per_second
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


def _action(manner: Manner, number: int, draw: Random) -> Action:
    """What is asked for; keys of its own, so that nobody else's are overwritten."""
    key = f"lab-{number % 8}"
    if manner.what == "poison":
        return Write(key, draw.choice(HOSTILE))
    match manner.action:
        case "read":
            return Read(key)
        case "write":
            return Write(key, f"flood {number}")
        case "work":
            return Work("cpu", manner.amount_ms)


async def _asking(party: Party, manner: Manner, draw: Random) -> None:
    """flood, deaf, poison: one action on one of the connections, opened again where missing."""
    if not party.sessions and not await party.join(manner.connections):
        return
    number = next(party.numbers)
    session = party.sessions[number % len(party.sessions)]
    await party.ask(session, _action(manner, number, draw), DEADLINE_SECONDS)


async def _cancelling(party: Party, manner: Manner, draw: Random) -> None:
    """cancel: work that is started on a connection of its own, which is reset at once."""
    session = await party.connect()
    if session is not None:
        with suppress(TimeoutError):
            await party.ask(session, _action(manner, 0, draw), PATIENCE_SECONDS)
        session.abort()


async def _hanging_up(party: Party, manner: Manner, draw: Random) -> None:
    """hang_up: every connection with work in flight, and then all reset in one moment."""
    await party.join(manner.connections)
    action = _action(manner, 0, draw)
    await asyncio.gather(
        *(party.ask(session, action, PATIENCE_SECONDS) for session in tuple(party.sessions))
    )
    party.leave()


async def _reconnecting(party: Party, manner: Manner, draw: Random) -> None:
    """reconnect: a login, a connection, and gone."""
    session = await party.connect()
    if session is not None:
        session.abort()


async def _garbling(party: Party, manner: Manner, draw: Random) -> None:
    """garbage: random bytes in the middle of whatever the connection was saying."""
    await party.join(manner.connections)
    data = draw.randbytes(draw.randint(1, GARBAGE_BYTES))
    party.counts["sent"] += sum(relay.speak(data) for relay in party.relays)
    if party.relays and not any(relay.speak(b"") for relay in party.relays):
        party.leave()


BEATS: dict[str, Beat] = {
    "flood": _asking,
    "deaf": _asking,
    "poison": _asking,
    "cancel": _cancelling,
    "hang_up": _hanging_up,
    "reconnect": _reconnecting,
    "garbage": _garbling,
}
