"""The auth service's statements: users, sessions and the audit log, one round trip each.

A session is open while its row is not closed, has not expired, and its user is active.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg

from .defects import planted
from .pool import LOST, PlainConnection, Pool
from .problems import Problem
from .tokens import LEEWAY_SECONDS, Principal

T = TypeVar("T")
USER = """
SELECT tenant_id, id, email, role, password_hash, is_active FROM auth_users WHERE email = $1
"""
OPEN = """
WITH opened AS (
  INSERT INTO auth_sessions (tenant_id, id, user_id, expires_at) VALUES ($1, $2, $3, $4))
INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail) VALUES ($1, $3, 'login', $2)
"""
LIVE = f"""
s.closed_at IS NULL AND u.is_active AND s.expires_at > now() - interval '{LEEWAY_SECONDS} s'
"""
CHECK = f"""
SELECT 1 FROM auth_sessions s JOIN auth_users u ON (u.tenant_id, u.id) = (s.tenant_id, s.user_id)
WHERE s.tenant_id = $1 AND s.id = $2 AND {LIVE}
"""
RENEW = f"""
UPDATE auth_sessions s SET expires_at = $3 FROM auth_users u
WHERE s.tenant_id = $1 AND s.id = $2 AND (u.tenant_id, u.id) = (s.tenant_id, s.user_id)
  AND {LIVE} RETURNING u.email, u.role
"""
REVIVE = RENEW.replace("SET ", "SET closed_at = NULL, ").replace("s.closed_at IS NULL AND ", "")
OVER = """
SELECT w.tenant_id, w.id FROM unnest($1::text[], $2::text[]) AS w (tenant_id, id)
WHERE NOT EXISTS (
  SELECT 1 FROM auth_sessions s
  JOIN auth_users u ON (u.tenant_id, u.id) = (s.tenant_id, s.user_id)
  WHERE s.tenant_id = w.tenant_id AND s.id = w.id AND s.closed_at IS NULL AND u.is_active)
"""
CLOSE = """
WITH closed AS (
  UPDATE auth_sessions SET closed_at = now()
  WHERE tenant_id = $1 AND closed_at IS NULL AND {which} RETURNING id, user_id)
INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail)
SELECT $1, user_id, 'logout', id FROM closed
"""
DEACTIVATE = """
WITH gone AS (
  UPDATE auth_users SET is_active = false WHERE tenant_id = $1 AND id = $2 RETURNING id),
closed AS (
  UPDATE auth_sessions SET closed_at = now()
  WHERE tenant_id = $1 AND user_id = $2 AND closed_at IS NULL),
noted AS (
  INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail)
  SELECT $1, id, 'deactivated', '' FROM gone)
SELECT count(*) FROM gone
"""
AUDIT = "INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail) VALUES ($1, $2, $3, $4)"
REQUEST_SECONDS = 2.0


class Accounts:
    """What the auth service asks of Postgres. Everything raises Problem `postgres_unavailable`."""

    def __init__(self, pool: Pool, connections: int) -> None:
        self._pool, self._slots = pool, asyncio.Semaphore(connections)

    async def user(self, email: str) -> asyncpg.Record | None:
        """The user with this address, active or not."""
        return await self._run(lambda c: c.fetchrow(USER, email))

    async def open(self, tenant: str, session: str, user: str, expires: int) -> None:
        """Open a session until `expires` (Unix seconds)."""
        ends = datetime.fromtimestamp(expires, UTC)
        await self._run(lambda c: c.execute(OPEN, tenant, session, user, ends))

    async def is_open(self, who: Principal) -> bool:
        """Whether the session may be used."""
        if planted("session_unchecked"):
            return True
        return bool(await self._run(lambda c: c.fetchval(CHECK, who.tenant, who.session)))

    async def renew(self, who: Principal, expires: int) -> asyncpg.Record | None:
        """Let an open session last until `expires`; its user's email and role, or None."""
        statement = REVIVE if planted("renewal_revives") else RENEW
        ends = datetime.fromtimestamp(expires, UTC)
        return await self._run(lambda c: c.fetchrow(statement, who.tenant, who.session, ends))

    async def over(self, sessions: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Which of these (tenant, session) were closed, or have an inactive user."""
        tenants, ids = [tenant for tenant, _ in sessions], [each for _, each in sessions]
        rows = await self._run(lambda c: c.fetch(OVER, tenants, ids))
        return [(row["tenant_id"], row["id"]) for row in rows]

    async def close(self, who: Principal) -> None:
        """Close the session; closing twice is fine."""
        if planted("logout_forgotten"):
            return
        statement = CLOSE.format(which="id = $2")
        await self._run(lambda c: c.execute(statement, who.tenant, who.session))

    async def close_all(self, who: Principal) -> None:
        """Close every session of the user."""
        statement = CLOSE.format(which="user_id = $2")
        await self._run(lambda c: c.execute(statement, who.tenant, who.user))

    async def deactivate(self, tenant: str, user: str) -> bool:
        """Make the user inactive and close the sessions; False when there is no such user."""
        return bool(await self._run(lambda c: c.fetchval(DEACTIVATE, tenant, user)))

    async def audit(self, tenant: str, user: str, event: str, detail: str) -> None:
        """One row of the audit log."""
        await self._run(lambda c: c.execute(AUDIT, tenant, user, event, detail))

    async def _run(self, work: Callable[[PlainConnection], Awaitable[T]]) -> T:
        healthy = False
        try:
            async with asyncio.timeout(REQUEST_SECONDS), self._slots:
                connection = await self._pool.take()
                try:
                    result = await work(connection)
                    healthy = True
                    return result
                finally:
                    self._pool.give(connection, healthy=healthy)
        except LOST:
            self._pool.breaker.failed()
            raise Problem("postgres_unavailable", retry_after_ms=500) from None
