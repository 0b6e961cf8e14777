"""Faults inside Postgres, on the whole server: its connections, its time, its settings.

As in `faults/postgres.py`, by an administrator inside the container. PostgreSQL documentation,
chapters 20 (settings), 27.2.8 (synchronous replication) and 28.2 (counters).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from anyio import sleep

from faults import marks
from faults.checks import within
from faults.effects import either, slowed, starved
from faults.stores import IN_TRANSACTION, STAY, THERE, HeldInPostgres, grown, hampered, mark
from lab.fault import Effect, Window
from lab.hands import Lab, Toxic

SESSIONS_MAX = 200

_FREE = """
SELECT 'free', current_setting('max_connections')::int - count(*) + 1
  - current_setting('superuser_reserved_connections')::int
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
_HELD_BACK = """
SELECT '{mark}.held_back', coalesce(max(age(backend_xmin)), 0)
FROM pg_stat_activity WHERE application_name = '{mark}'
"""
_COMMITTED = """
SELECT 'n', count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'
"""


@dataclass(frozen=True, slots=True)
class IdleInTransaction(HeldInPostgres):
    """Keeps `sessions` transactions open and idle: vacuum must keep what they may see."""

    sessions: int = 1
    kind: ClassVar[str] = "idle_in_transaction"

    def __post_init__(self) -> None:
        within(self.kind, "sessions", self.sessions, 1, SESSIONS_MAX)

    async def inject(self, lab: Lab) -> None:
        """A snapshot that stays: REPEATABLE READ takes it at the first statement."""
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n{STAY}"
        await lab.postgres.hold(mark(self), begin, IN_TRANSACTION, self.sessions)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """How many transactions began since the oldest snapshot."""
        return await lab.postgres.figures(_HELD_BACK.format(mark=mark(self)))

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when others wrote meanwhile: what they left behind could not be removed."""
        return grown(during, {f"{mark(self)}.held_back": "transactions are held back from vacuum"})


@dataclass(frozen=True, slots=True)
class ConnectionExhaustion(HeldInPostgres):
    """Takes every free connection but `leave`; those that are open stay open.

    A system that has all the connections it wants does not feel it, and the effect says so. The
    ones reserved for superusers are left alone.
    """

    leave: int = 0
    kind: ClassVar[str] = "connection_exhaustion"

    def __post_init__(self) -> None:
        within(self.kind, "leave", self.leave, 0, 10_000)

    async def inject(self, lab: Lab) -> None:
        """Count what is free, and take it in one go; nothing, when there is nothing."""
        free = int((await lab.postgres.figures(_FREE)).get("free", 0.0))
        if free > self.leave:
            await lab.postgres.hold(mark(self), STAY, THERE, free - self.leave)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations were hampered."""
        return hampered(before, during)


@dataclass(frozen=True, slots=True)
class SlowQuery(HeldInPostgres):
    """Keeps the server busy: `sessions` sessions burn CPU without a pause, in 0.1 s statements."""

    sessions: int = 2
    kind: ClassVar[str] = "slow_query"

    def __post_init__(self) -> None:
        within(self.kind, "sessions", self.sessions, 1, SESSIONS_MAX)

    async def inject(self, lab: Lab) -> None:
        """Square roots, which need neither disk nor lock."""
        burn = "SELECT sum(sqrt(n)) FROM generate_series(1, 1000000) AS n;"
        await lab.postgres.hold(mark(self), burn, THERE, self.sessions)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations took twice as long, or half of them were not answered."""
        return either(slowed(before, during), starved(before, during))


@dataclass(frozen=True, slots=True)
class PostgresReadOnly(HeldInPostgres):
    """Every transaction is read-only from its start, as on a standby, also in open sessions."""

    kind: ClassVar[str] = "postgres_read_only"
    altered: ClassVar[Mapping[str, str]] = {"default_transaction_read_only": "on"}

    async def inject(self, lab: Lab) -> None:
        """The default of the whole server, which a session of its own could still override."""
        await lab.postgres.configure(mark(self), "default_transaction_read_only", "on")

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a twentieth of the operations was lost: only writes are."""
        return starved(before, during, to=0.95)


@dataclass(frozen=True, slots=True)
class LostCommitAck(HeldInPostgres):
    """Transactions commit and nobody tells: the wire is cut between COMMIT and its answer.

    For `wait_ms` commits reach the disk, but the server waits with the answer for a standby that
    does not exist (synchronous_standby_names); then its words are cut off (`link`, downstream), it
    may answer, and the connections are closed. The link stays closed until the heal. Keep `wait_ms`
    below the system's own time limit, after which it gives the commit up.
    """

    link: str
    wait_ms: int = 200
    kind: ClassVar[str] = "lost_commit_ack"
    altered: ClassVar[Mapping[str, str]] = {"synchronous_standby_names": "nobody"}

    def __post_init__(self) -> None:
        within(self.kind, "wait_ms", self.wait_ms, 1, 60_000)

    @property
    def target(self) -> str:
        """The link that is cut."""
        return f"link {self.link}"

    async def inject(self, lab: Lab) -> None:
        """Withhold the answers, cut the wire, let the server answer into it, close."""
        toxic = marks.mark(self)
        await lab.postgres.configure(mark(self), "synchronous_standby_names", "nobody")
        await sleep(self.wait_ms / 1e3)
        await lab.links.add(self.link, Toxic(toxic, "timeout", "downstream", {"timeout": 0}))
        committed = (await lab.postgres.figures(_COMMITTED)).get("n", 0.0)
        await lab.postgres.note(mark(self), committed)
        await lab.postgres.release(mark(self), self.altered)
        await lab.links.enable(self.link, enabled=False)

    async def heal(self, lab: Lab) -> None:
        """Undo all three, in the order in which nobody hears a late answer."""
        await lab.postgres.release(mark(self), self.altered)
        await lab.links.remove(self.link, marks.mark(self))
        await lab.links.enable(self.link, enabled=True)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """Commits that were done and not acknowledged, counted at the moment of the cut."""
        return {"postgres.unacknowledged": await lab.postgres.noted(mark(self))}

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when at least one transaction committed without an answer."""
        return grown(during, {"postgres.unacknowledged": "commits were not acknowledged"})
