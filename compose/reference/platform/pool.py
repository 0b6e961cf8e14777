"""Connections to Postgres: kept, handed out, and thrown away at the first doubt.

asyncpg's own pool waits for a cancelled statement to be confirmed, which never happens in a
black hole (asyncpg 0.32, cancel path). Here a connection that failed in any way is terminated
without asking and replaced by the next `take`. Who may take one is decided before, by the gate.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg

from .breaker import Breaker
from .problems import Problem

LOST = (
    OSError,  # time-outs are OSErrors, too
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""What tells that the connection is no good, whatever was asked."""

KEEP_WARM_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Where to connect, and as whom."""

    host: str
    port: int
    database: str
    user: str
    password: str
    application: str
    connect_seconds: float
    pooled: bool = False  # by transaction: what is prepared on a server is not there the next time


class PlainConnection(asyncpg.Connection):
    """Without asyncpg's reset on release: settings are local to transactions, so none survive."""

    settled = False  # whether the planted session_tenant has been here

    def get_reset_query(self) -> str:
        """No query at all."""
        return ""


async def connect(login: Login) -> PlainConnection:
    """A new connection within the login's limit."""
    return await asyncpg.connect(
        host=login.host,
        port=login.port,
        database=login.database,
        user=login.user,
        password=login.password,
        timeout=login.connect_seconds,
        ssl=False,
        statement_cache_size=0 if login.pooled else 100,
        connection_class=PlainConnection,
        server_settings={"application_name": login.application, "jit": "off"},
    )


class Pool:
    """Keeps `size_min` connections warm, `size_max` at most; who calls `take` bounds the rest."""

    def __init__(self, login: Login, size_min: int, size_max: int) -> None:
        self._login, self._size_min, self._size_max = login, size_min, size_max
        self._idle: list[PlainConnection] = []
        self._taken = 0
        self.breaker = Breaker("postgres", self.probe)

    async def keep_warm(self) -> None:
        """Open what is missing of the minimum, for ever: at the start, and after every cut."""
        while True:
            if not self.breaker.is_open:
                missing = range(self._size_min - len(self._idle) - self._taken)
                made = await asyncio.gather(
                    *(connect(self._login) for _ in missing), return_exceptions=True
                )
                for connection in made:
                    if isinstance(connection, PlainConnection):
                        self._keep(connection)
            await asyncio.sleep(KEEP_WARM_SECONDS)

    async def take(self) -> PlainConnection:
        """A live connection. Raises Problem `postgres_unavailable`; nothing has happened then."""
        self.breaker.check()
        self._taken += 1
        try:
            return self._alive() or await connect(self._login)
        except (*LOST, asyncpg.PostgresError):
            self._taken -= 1
            self.breaker.failed()
            raise Problem("postgres_unavailable") from None
        except BaseException:
            self._taken -= 1
            raise

    def give(self, connection: PlainConnection, *, healthy: bool) -> None:
        """Take a connection back; one that is not known to be healthy is ended at once."""
        self._taken -= 1
        if healthy and not connection.is_closed() and not connection.is_in_transaction():
            self.breaker.succeeded()
            self._keep(connection)
        else:
            connection.terminate()

    async def probe(self) -> None:
        """Prove that the server answers, on an idle connection or a new one; then keep it."""
        self._taken += 1
        connection: PlainConnection | None = None
        try:
            connection = self._alive() or await connect(self._login)
            await connection.execute("SELECT 1", timeout=self._login.connect_seconds)
        except BaseException:
            self._taken -= 1
            if connection is not None:
                connection.terminate()
            raise
        self._taken -= 1
        self._keep(connection)

    def _keep(self, connection: PlainConnection) -> None:
        if len(self._idle) + self._taken < self._size_max:
            self._idle.append(connection)
        else:
            connection.terminate()

    def _alive(self) -> PlainConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def counters(self) -> dict[str, Any]:
        """Idle and taken connections."""
        return {"idle": len(self._idle), "taken": self._taken, "breaker_open": self.breaker.is_open}

    def close(self) -> None:
        """End all idle connections."""
        self.breaker.close()
        while self._idle:
            self._idle.pop().terminate()
