"""What tenants hold, seen past all faults: in Postgres and in Redis.

Every table with a `tenant_id` is counted, those of tomorrow too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import asyncpg
from redis.asyncio import Redis

from lab.system import Census, Site

CONNECT_SECONDS, CALL_SECONDS = 10.0, 30.0
TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE a.attname = 'tenant_id' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
  AND c.relname <> 'auth_sessions' ORDER BY c.relname
"""
COUNT = "SELECT '{0}' AS name, tenant_id, count(*) AS rows FROM {0} GROUP BY tenant_id"
SESSIONS = """
SELECT tenant_id, id FROM auth_sessions WHERE closed_at IS NULL AND expires_at > now()
"""
CONNECTIONS = """
SELECT application_name, state, pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename <> 'observer'
  AND xact_start < now() - interval '1 second'
"""
LOCKS = """
SELECT coalesce(relation::regclass::text, locktype) AS name, mode, pid FROM pg_locks
WHERE pid <> pg_backend_pid() AND (locktype = 'advisory' OR NOT granted)
"""


async def counted(site: Site) -> Census:
    """Rows and open sessions by tenant, keys in Redis, long transactions and held locks."""
    rows, held = await asyncio.gather(_postgres(site), _keys(site))
    return rows | {"keys": held}


async def _postgres(site: Site) -> Census:
    where, password = site.observers["postgres"], site.variables["OBSERVER_PASSWORD"]
    connection = await asyncpg.connect(
        host=where.host, port=where.port, user="observer", password=password,
        database="platform", ssl=False, timeout=CONNECT_SECONDS, command_timeout=CALL_SECONDS,
    )  # fmt: skip
    try:
        tables = [row[0] for row in await connection.fetch(TABLES)]
        rows = await connection.fetch(" UNION ALL ".join(map(COUNT.format, tables)))
        sessions = await connection.fetch(SESSIONS)
        busy = await connection.fetch(CONNECTIONS)
        locks = await connection.fetch(LOCKS)
    finally:
        with contextlib.suppress(TimeoutError):  # a probe's own goodbye is worth no failure
            await asyncio.wait_for(connection.close(), 1.0)
    return {
        "rows": _sorted(f"{r['name']}/{r['tenant_id']}={r['rows']}" for r in rows),
        "sessions": _sorted(f"{r['tenant_id']}/{r['id']}" for r in sessions),
        "connections": _sorted(f"{r['application_name']}: {r['state']}" for r in busy),
        "locks": _sorted(f"{r['name']} {r['mode']}" for r in locks),
    }


async def _keys(site: Site) -> tuple[str, ...]:
    where, password = site.observers["redis"], site.variables["REDIS_OBSERVER_PASSWORD"]
    redis: Any = Redis(
        host=where.host, port=where.port, username="observer", password=password,
        decode_responses=True, socket_timeout=CALL_SECONDS,
    )  # fmt: skip
    async with redis:
        return _sorted([str(key) async for key in redis.scan_iter(count=1000)])


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
