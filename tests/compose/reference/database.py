"""The platform's database from the inside: other roles, held locks, a COMMIT that hangs or is lost.

It is how a test arranges an interleaving instead of hoping for it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from lab.actions import Action, List
from lab.hands import Toxic
from lab.system import Session, Tenant
from tests.compose.reference.stacks import Running, ask, eventually

SILENCE = Toxic("silence", "timeout", "downstream", {"timeout": 0})
_numbers = itertools.count(1)
HOLD = 4711
"""The advisory lock on which a held COMMIT waits."""
HOLDING = (
    f"CREATE FUNCTION hold_commit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN LOOP BEGIN "
    f"PERFORM pg_advisory_xact_lock_shared({HOLD}); RETURN NULL; "
    f"EXCEPTION WHEN query_canceled OR lock_not_available THEN NULL; END; END LOOP; END'",
    "CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN (NEW.tenant_id = '{tenant}') EXECUTE FUNCTION hold_commit()",
)
"""It outlasts every limit of the platform: whoever gives up has sent a COMMIT that comes true."""
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = 'app' AND wait_event_type = 'Lock' AND query LIKE $1
"""


@asynccontextmanager
async def role(running: Running, user: str, variable: str) -> AsyncGenerator[asyncpg.Connection]:
    """A connection past all links, as this role."""
    where = running.stack.site.observers["postgres"]
    connection = await asyncpg.connect(
        host=where.host, port=where.port, user=user, database="platform",
        password=running.stack.site.variables[variable], ssl=False, command_timeout=5.0,
    )  # fmt: skip
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def superuser(running: Running) -> AsyncGenerator[asyncpg.Connection]:
    """A connection that may do everything."""
    async with role(running, "postgres", "POSTGRES_PASSWORD") as connection:
        yield connection


@asynccontextmanager
async def app(running: Running, tenant: str = "") -> AsyncGenerator[asyncpg.Connection]:
    """A connection as the backend's own role, in a transaction as `tenant` that is undone."""
    async with role(running, "app", "APP_PASSWORD") as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            if tenant:
                await connection.execute("SELECT set_config('app.tenant', $1, true)", tenant)
            yield connection
        finally:
            await transaction.rollback()


@asynccontextmanager
async def locked(running: Running, table: str, tenant: Tenant) -> AsyncGenerator[None]:
    """Hold the tenant's rows of a table, so that whoever changes them waits."""
    async with superuser(running) as connection, connection.transaction():
        statement = f"SELECT 1 FROM {table} WHERE tenant_id = $1 FOR UPDATE"
        assert await connection.fetch(statement, tenant.id)
        yield


async def waiting(running: Running, count: int, query: str = "%") -> None:
    """Return once `count` of the backend's statements wait for a lock. Raises TimeoutError."""
    async with superuser(running) as connection:
        await _waiting(connection, count, query)


async def _waiting(connection: asyncpg.Connection, count: int, query: str) -> None:
    async def there() -> bool:
        return int(await connection.fetchval(WAITING, query)) >= count

    await eventually(there)


async def _hanging(connection: asyncpg.Connection, told: asyncio.Task[str]) -> None:
    """Return once the message's COMMIT hangs. Raises AssertionError when it is answered instead."""
    hangs = asyncio.create_task(_waiting(connection, 1, "COMMIT"))
    await asyncio.wait([hangs, told], return_when=asyncio.FIRST_COMPLETED)
    if not hangs.done():
        hangs.cancel()
        raise AssertionError(f"answered before its COMMIT hung: {told.result()}")
    await hangs


@asynccontextmanager
async def commits_held(running: Running, tenant: Tenant) -> AsyncGenerator[asyncpg.Connection]:
    """Every COMMIT by which this tenant writes hangs until the block is left or HOLD unlocked."""
    async with superuser(running) as connection:
        await connection.execute(HOLDING[0])
        try:
            await connection.execute(HOLDING[1].format(tenant=tenant.id))
            await connection.execute(f"SELECT pg_advisory_lock({HOLD})")
            yield connection
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")
            await connection.execute("DROP FUNCTION hold_commit() CASCADE")


async def with_lost_commit(
    running: Running, session: Session, tenant: Tenant, action: Action, *, for_good: bool
) -> str:
    """What is answered when the server commits and nobody hears of it.

    for_good: the link stays down until the answer is there.
    """
    links = running.stack.links
    async with commits_held(running, tenant) as connection:
        told = asyncio.create_task(ask(session, action, "lost"))
        await _hanging(connection, told)
        await links.add("postgres", SILENCE)
        await connection.execute(f"SELECT pg_advisory_unlock({HOLD})")

        async def committed() -> bool:
            query = "SELECT count(*) FROM outbox WHERE tenant_id = $1 AND message_id = 'lost'"
            return bool(await connection.fetchval(query, tenant.id))

        try:
            await eventually(committed)
            await links.enable("postgres", False)
        finally:
            await links.remove("postgres", SILENCE.name)
        if for_good:
            await asyncio.wait([told])
        await links.enable("postgres", True)
        answer = await told
        await eventually(lambda: _over_it(running, session, tenant))
        return answer


async def _over_it(running: Running, session: Session, tenant: Tenant) -> bool:
    """Whether the platform is over the cut: backend and auth have a breaker each."""
    name = f"over-it-{next(_numbers)}"
    if (await ask(session, List(), name)).startswith(("refused", "unknown")):
        return False
    try:
        await running.connect(tenant)
    except ConnectionRefusedError:  # the login's 503
        return False
    return True
