"""Postgres from inside its container: psql for what is done at once, pgbench for what is held."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from time import monotonic

from anyio import sleep

from lab.engine.stream import Stream
from lab.errors import LabError, UsageError
from lab.hands.real.holding import HOLD_SECONDS, Holding
from lab.hands.sql import literal
from lab.stack.schema import PostgresBlock

MONITOR = "monitor"
"""What the session of `every_second` is called, so that nobody takes it for the system's."""

LIFE_SECONDS = 3600
"""Sessions end by themselves after this, if everything else failed."""


class RunPostgres:
    """The `Postgres` of a running stack; `block` is None where the system has none."""

    def __init__(self, holding: Holding | None, block: PostgresBlock | None, run: str) -> None:
        self._maybe, self._maybe_block, self._run = holding, block, run
        self._marked = False
        self._noted: dict[str, float] = {}

    async def hold(self, name: str, script: str, until: str, sessions: int = 1) -> None:
        """See `Postgres`: one pgbench has them all, so that they cost one process."""
        await self._ours()
        command = f"pgbench -n -c {sessions} -j 1 -T {LIFE_SECONDS} -f -"
        act = (
            f"{self._login}\nexport PGAPPNAME={quote(name)}\n"
            f"printf '%s\\n' {quote(script)} | {command} >/dev/null &\nwork=$!"
        )
        undo = f"kill $work; {self._psql(_ended(name))} >/dev/null"
        await self._holding.hold(name, act, undo)
        wanted = f"SELECT 'n', count(*) FROM pg_stat_activity WHERE {_named(name)} AND ({until})"
        deadline = monotonic() + HOLD_SECONDS
        while (await self.figures(wanted)).get("n", 0.0) < sessions:
            if monotonic() > deadline:
                said = self._holding.words(name) or f"no {sessions} sessions with {until}"
                raise LabError(f"not in place: {said}", where=f"service {self._holding.service}")
            await sleep(0.02)

    async def configure(self, name: str, setting: str, value: str) -> None:
        """See `Postgres`: ALTER SYSTEM and a reload, which open sessions follow at once."""
        await self._ours()
        change = self._psql(
            f"ALTER SYSTEM SET {setting} = {literal(value)}", "SELECT pg_reload_conf()"
        )
        undo = self._psql(f"ALTER SYSTEM RESET {setting}", "SELECT pg_reload_conf()")
        await self._holding.hold(name, f"{change} >/dev/null", undo=f"{undo} >/dev/null")
        shown = (
            f"SELECT 'n', count(*) FROM pg_settings"
            f" WHERE name = {literal(setting)} AND setting = {literal(value)}"
        )
        deadline = monotonic() + HOLD_SECONDS
        while not (await self.figures(shown)).get("n"):
            if monotonic() > deadline:
                raise LabError(f"{setting} is not {value}", where=self._holding.service)
            await sleep(0.02)

    async def release(self, name: str, settings: Mapping[str, str] = {}) -> None:
        """See `Postgres`: sessions of this name are ended, also where their holder was killed."""
        if self._maybe is None:
            return
        await self._maybe.release(name)
        deadline = monotonic() + HOLD_SECONDS
        while await self._maybe.up() and await self._maybe.run(self._psql(_ended(name))) != "0\n":
            if monotonic() > deadline:
                raise LabError(f"sessions of `{name}` do not end", where=self._maybe.service)
            await sleep(0.02)
        if settings:
            await self._put_back(settings)

    async def _put_back(self, settings: Mapping[str, str]) -> None:
        """Reset what still stands: the holder may have died with the server, the file has not."""
        where, deadline = f"service {self._holding.service}", monotonic() + HOLD_SECONDS
        while True:
            if not await self._holding.up():
                what = f"is down, so {', '.join(settings)} cannot be put back"
                raise LabError(what, where=where)
            left = await self.figures(_altered(settings))
            if not left:
                return
            if monotonic() > deadline:
                raise LabError(f"{', '.join(left)} cannot be put back", where=where)
            resets = (f"ALTER SYSTEM RESET {setting}" for setting in left)
            await self._holding.run(self._psql(*resets, "SELECT pg_reload_conf()"))
            await sleep(0.02)

    async def figures(self, sql: str) -> Mapping[str, float]:
        """See `Postgres`."""
        if not await self._holding.up():
            return {}
        rows = (await self._holding.run(self._psql(sql))).splitlines()
        return {name: float(number) for name, _, number in (row.rpartition("|") for row in rows)}

    def every_second(self, sql: str, mark: str) -> Stream:
        """The rows of a query (`|` between columns) once a second, then a line `mark`. Blocking.

        For a tool that reads on and on; it is one session of the server's.
        """
        asked = f"PREPARE every AS {sql};\n"
        once = f"EXECUTE every;\n\\echo {mark}\n"
        again = f"while printf %s {quote(once)}; do sleep 1; done"
        login = f"{self._login}; export PGAPPNAME={quote(MONITOR)}"
        return self._holding.stream(
            f"{login}\n{{ printf %s {quote(asked)}; {again}; }} | psql -XAtq"
        )

    async def rows_of(self, tenant: str) -> str:
        """See `Postgres`."""
        column = self._told("tenant_column")
        return f"{column} = {literal(tenant)}"

    async def sessions_of(self, tenant: str) -> str:
        """See `Postgres`."""
        if not tenant.replace("-", "").replace("_", "").isalnum():
            raise LabError(f"the tenant id {tenant!r} cannot stand in a condition")
        return self._told("tenant_sessions").replace("{tenant}", tenant)

    async def note(self, name: str, amount: float) -> None:
        """See `Postgres`."""
        self._noted[name] = self._noted.get(name, 0.0) + amount

    async def noted(self, name: str) -> float:
        """See `Postgres`."""
        return self._noted.get(name, 0.0)

    async def residue(self) -> dict[str, tuple[str, ...]]:
        """Altered settings, sessions of a fault, prepared transactions, and who waits for a lock.

        See `lab/healing/residue.py`.
        """
        if self._maybe is None:
            return {}
        return {"postgres": tuple(sorted(await self.figures(_NOT_CALM)))}

    async def _ours(self) -> None:
        """Raise UsageError unless the database holds this run's marker row."""
        if not self._marked:
            there = f"SELECT run, 1 FROM {self._block.marker}"
            try:
                runs = set(await self.figures(there))
            except LabError:  # no such table
                runs = set[str]()
            if runs != {self._run}:
                raise UsageError(
                    "the database is not marked as this run's",
                    where=f"service {self._block.service}",
                    mend=f"its start-up puts LAB_RUN into {self._block.marker}.run",
                )
            self._marked = True

    def _psql(self, *statements: str) -> str:
        """A shell command that runs these, each for itself; `name|number` a row."""
        each = " ".join(f"-c {quote(statement)}" for statement in statements)
        return f"{self._login}; psql -XAtq -v ON_ERROR_STOP=1 {each}"

    @property
    def _login(self) -> str:
        block = self._block
        secret = f' PGPASSWORD="${block.password}"' if block.password else ""
        return f"export PGUSER={quote(block.user)} PGDATABASE={quote(block.database)}{secret}"

    @property
    def _holding(self) -> Holding:
        if self._maybe is None:
            raise _lacking("postgres")
        return self._maybe

    @property
    def _block(self) -> PostgresBlock:
        if self._maybe_block is None:
            raise _lacking("postgres")
        return self._maybe_block

    def _told(self, key: str) -> str:
        text: str = getattr(self._block, key)
        if not text:
            raise _lacking(f"postgres.{key}")
        return text


_NOT_CALM = """
SELECT 'setting ' || name, 1 FROM pg_settings WHERE sourcefile LIKE '%postgresql.auto.conf'
UNION SELECT 'session ' || application_name, 1 FROM pg_stat_activity
    WHERE application_name LIKE 'lab:%'
UNION SELECT 'prepared transaction ' || gid, 1 FROM pg_prepared_xacts
UNION SELECT 'waits for a ' || locktype, 1 FROM pg_locks WHERE NOT granted
"""


def _altered(settings: Mapping[str, str]) -> str:
    """Those that have these values by ALTER SYSTEM, in its file or still in the server."""
    pairs = ", ".join(f"({literal(name)}, {literal(to)})" for name, to in settings.items())
    ours = f"sourcefile LIKE '%postgresql.auto.conf' AND (name, setting) IN ({pairs})"
    return (
        f"SELECT name, 1 FROM pg_file_settings WHERE {ours}"
        f" UNION SELECT name, 1 FROM pg_settings WHERE {ours}"
    )


def _named(name: str) -> str:
    return f"application_name = {literal(name)}"


def _ended(name: str) -> str:
    end = "SELECT count(pg_terminate_backend(pid))"
    return f"{end} FROM pg_stat_activity WHERE {_named(name)}"


def _lacking(what: str) -> UsageError:
    mend = "the fault needs it; docs/stack-file.md"
    return UsageError("is not in the stack file", where=f"x-lab.stores.{what}", mend=mend)
