"""Faults inside Postgres, on one tenant's rows and sessions, or on one table.

No link is crossed, so they can be combined with faults on links. Sessions of the lab's are known
by their application_name, which any process derives from the fault; they end with their fault, and
with the lab. PostgreSQL documentation, chapters 13.3 (locks) and 28.2 (counters).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from faults.checks import within
from faults.effects import either
from faults.stores import (
    IN_TRANSACTION,
    OURS,
    STAY,
    THERE,
    HeldInPostgres,
    felt_alone,
    felt_by,
    grown,
    hampered,
    mark,
    table_name,
)
from lab.fault import Effect, Window
from lab.hands import Lab

_WAITING = """
SELECT '{mark}.waiting', count(*) FROM pg_stat_activity AS a
WHERE a.application_name NOT LIKE '{ours}%' AND EXISTS (
  SELECT FROM pg_stat_activity AS b
  WHERE b.application_name LIKE '{mark}%' AND b.pid = ANY (pg_blocking_pids(a.pid)))
"""
_OF_DATABASE = """
SELECT 'postgres.{0}', {0} FROM pg_stat_database WHERE datname = current_database()
"""

_ENDED = """
SELECT '{mark}.ended', count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND application_name = '{mark}'
"""
ENDED_MAX = 1000
"""No more are told apart: the server's table of locks is finite."""


@dataclass(frozen=True, slots=True)
class LockHold(HeldInPostgres):
    """Holds the row locks of one tenant's rows in one table, as a forgotten transaction does.

    tenant: the logical name. Rows that come later are not locked; other tenants' rows never.
    """

    tenant: str
    table: str
    kind: ClassVar[str] = "lock_hold"

    def __post_init__(self) -> None:
        table_name(self.kind, "table", self.table)

    @property
    def target(self) -> str:
        """Whose rows."""
        return f"rows of {self.tenant} in {self.table}"

    async def inject(self, lab: Lab) -> None:
        """SELECT FOR UPDATE, and then nothing."""
        rows = await lab.postgres.rows_of(lab.tenants[self.tenant])
        lock = f"BEGIN;\nSELECT 1 FROM {self.table} WHERE {rows} FOR UPDATE;\n{STAY}"
        await lab.postgres.hold(mark(self), lock, IN_TRANSACTION)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """How many of the system's sessions wait for ours right now."""
        return await lab.postgres.figures(_WAITING.format(ours=OURS, mark=mark(self)))

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a session waited at the end, or when only the tenant was hampered."""
        waiting = grown(during, {f"{mark(self)}.waiting": "sessions wait for the lock"})
        return either(waiting, felt_alone(self.tenant, before, during))


@dataclass(frozen=True, slots=True)
class Deadlock(HeldInPostgres):
    """Takes one tenant's rows in the order that deadlocks: first those in `second`, then `first`.

    first, second: tables in the order in which a transaction of the system's locks the tenant's
    rows. The lab's session never gives way (deadlock_timeout is an hour for it), so that the victim
    is always the system's. A system without such a transaction does not feel it.
    """

    tenant: str
    first: str
    second: str
    kind: ClassVar[str] = "deadlock"

    def __post_init__(self) -> None:
        table_name(self.kind, "first", self.first)
        table_name(self.kind, "second", self.second)

    @property
    def target(self) -> str:
        """Whose rows."""
        return f"rows of {self.tenant} in {self.first} and {self.second}"

    async def inject(self, lab: Lab) -> None:
        """Again and again, with time between the two locks for somebody to step in."""
        rows = await lab.postgres.rows_of(lab.tenants[self.tenant])
        locks = [f"SELECT 1 FROM {t} WHERE {rows} FOR UPDATE;" for t in (self.second, self.first)]
        script = ("SET deadlock_timeout = '1h';", "BEGIN;", locks[0], "\\sleep 50 ms", locks[1])
        script = "\n".join((*script, "COMMIT;", "\\sleep 50 ms"))
        await lab.postgres.hold(mark(self), script, THERE)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """Deadlocks so far; all victims are others, see above."""
        return await lab.postgres.figures(_OF_DATABASE.format("deadlocks"))

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a transaction was chosen as a victim."""
        traffic = felt_by(self.tenant, before, during)
        seen = grown(during, {"postgres.deadlocks": "victims of a deadlock"})
        return Effect(seen.bit, f"{seen.how}; {traffic.how}", {**seen.observed, **traffic.observed})


@dataclass(frozen=True, slots=True)
class TerminateBackends(HeldInPostgres):
    """Ends every session that works for one tenant, as soon as it is seen: every `every_ms`.

    Which sessions those are, the stack file says (`tenant_sessions`). Where tenants take turns on
    pooled sessions, one that is ended at the instant between two turns costs the next tenant, too.
    """

    tenant: str
    every_ms: int = 20
    kind: ClassVar[str] = "terminate_backends"

    def __post_init__(self) -> None:
        within(self.kind, "every_ms", self.every_ms, 1, 60_000)

    @property
    def target(self) -> str:
        """Whose sessions."""
        return f"sessions of {self.tenant}"

    async def inject(self, lab: Lab) -> None:
        """One session looks, and ends what it finds."""
        which = await lab.postgres.sessions_of(lab.tenants[self.tenant])
        end = (
            "SELECT CASE WHEN pg_terminate_backend(pid) THEN pg_try_advisory_lock_shared("
            f"hashtext('{mark(self)}'), pid % {ENDED_MAX}) END FROM pg_stat_activity"
            f" WHERE ({which}) AND pid <> pg_backend_pid();"
        )
        await lab.postgres.hold(mark(self), f"{end}\n\\sleep {self.every_ms} ms", THERE)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """Sessions that its own query has ended so far: for each it holds an advisory lock."""
        return await lab.postgres.figures(_ENDED.format(mark=mark(self)))

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a session was ended."""
        traffic = felt_by(self.tenant, before, during)
        seen = grown(during, {f"{mark(self)}.ended": "sessions ended"})
        return Effect(seen.bit, f"{seen.how}; {traffic.how}", {**seen.observed, **traffic.observed})


@dataclass(frozen=True, slots=True)
class DdlQueue(HeldInPostgres):
    """A schema change waits behind one long reader, and everybody else waits behind the change.

    All tenants are hit: an ACCESS EXCLUSIVE request in the queue lets nobody pass.
    """

    table: str
    kind: ClassVar[str] = "ddl_queue"

    def __post_init__(self) -> None:
        table_name(self.kind, "table", self.table)

    @property
    def target(self) -> str:
        """Which table."""
        return f"table {self.table}"

    async def inject(self, lab: Lab) -> None:
        """The reader first, then the change, which has to wait."""
        read = f"BEGIN;\nLOCK TABLE {self.table} IN ACCESS SHARE MODE;\n{STAY}"
        change = f"BEGIN;\nLOCK TABLE {self.table} IN ACCESS EXCLUSIVE MODE;\n{STAY}"
        await lab.postgres.hold(mark(self), read, IN_TRANSACTION)
        await lab.postgres.hold(f"{mark(self)}+", change, "wait_event_type = 'Lock'")

    async def heal(self, lab: Lab) -> None:
        """The change first: it must not get its lock when the reader goes."""
        await lab.postgres.release(f"{mark(self)}+")
        await lab.postgres.release(mark(self))

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """How many of the system's sessions wait in the queue right now."""
        return await lab.postgres.figures(_WAITING.format(ours=OURS, mark=mark(self)))

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a session waited at the end, or when operations were hampered."""
        waiting = grown(during, {f"{mark(self)}.waiting": "sessions wait in the queue"})
        return either(waiting, hampered(before, during))
