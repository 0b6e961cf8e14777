"""The admin port (8001): make and retire tenants, and read counters. Guarded by the lab's token."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from . import passwords
from .messages import Id
from .pool import LOST, Login, PlainConnection, connect
from .problems import Problem
from .state import States

THREAD, CONFIGURATION = "main", "assistant"
TABLES = (
    "credit_ledger", "credits", "messages", "threads", "agent_configurations",
    "auth_sessions", "auth_audit_logs", "auth_users",
)  # fmt: skip
CREATE = (
    """INSERT INTO auth_users (tenant_id, id, email, role, password_hash)
       SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])""",
    """INSERT INTO threads (tenant_id, id)
       SELECT DISTINCT t, 'main' FROM unnest($1::text[]) AS t""",
    """INSERT INTO agent_configurations (tenant_id, name)
       SELECT DISTINCT t, 'assistant' FROM unnest($1::text[]) AS t""",
    """INSERT INTO credits (tenant_id, user_id, balance)
       SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])""",
)


class NewTenant(msgspec.Struct, forbid_unknown_fields=True):
    """One tenant with one user."""

    tenant_id: Id
    user_id: Id
    email: str
    password: str
    credits: int = 1000


@dataclass(slots=True)
class Provisioning:
    """Works as role `provisioner`, on a connection made for the call."""

    login: Login
    states: States
    token: str
    counters: Callable[[], dict[str, Any]]
    forget: Callable[[str], None]  # what the backend still counts for a retired tenant

    async def create(self, request: Request) -> JSONResponse:
        """`POST /tenants [NewTenant...]`: all or none, in one transaction."""
        self._guard(request)
        try:
            tenants = msgspec.json.decode(await request.body(), type=list[NewTenant])
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        hashes = await asyncio.to_thread(lambda: [passwords.hashed(t.password) for t in tenants])
        ids, users = [t.tenant_id for t in tenants], [t.user_id for t in tenants]
        emails, roles = [t.email for t in tenants], ["user"] * len(tenants)
        async with asyncio.timeout(20):
            connection = await connect(self.login)
            try:
                async with connection.transaction():
                    await connection.execute(CREATE[0], ids, users, emails, roles, hashes)
                    await connection.execute(CREATE[1], ids)
                    await connection.execute(CREATE[2], ids)
                    await connection.execute(CREATE[3], ids, users, [t.credits for t in tenants])
            finally:
                connection.terminate()
        return JSONResponse({"created": len(tenants)})

    async def retire(self, request: Request) -> JSONResponse:
        """`DELETE /tenants [id...]`: every row and key of these tenants."""
        self._guard(request)
        ids = msgspec.json.decode(await request.body(), type=list[Id])
        async with asyncio.timeout(20):
            connection = await connect(self.login)
            try:
                users = await self._deleted(connection, ids)
            finally:
                connection.terminate()
            for tenant, user in users:
                await self.states.forget(tenant, [user])
                self.forget(tenant)
        return JSONResponse({"retired": len(ids)})

    async def count(self, request: Request) -> JSONResponse:
        """`GET /counters`: what the rooms know of themselves."""
        self._guard(request)
        return JSONResponse(self.counters())

    async def _deleted(self, connection: PlainConnection, ids: list[str]) -> list[tuple[str, str]]:
        async with connection.transaction():
            rows = await connection.fetch(
                "SELECT tenant_id, id FROM auth_users WHERE tenant_id = ANY($1)", ids
            )
            for table in TABLES:
                await connection.execute(f"DELETE FROM {table} WHERE tenant_id = ANY($1)", ids)
        return [(row["tenant_id"], row["id"]) for row in rows]

    def _guard(self, request: Request) -> None:
        given = request.headers.get("x-lab-token", "")
        if not self.token or not hmac.compare_digest(given.encode(), self.token.encode()):
            raise PermissionError


def app(provisioning: Provisioning) -> Starlette:
    """The admin routes."""
    return Starlette(
        routes=[
            Route("/tenants", provisioning.create, methods=["POST"]),
            Route("/tenants", provisioning.retire, methods=["DELETE"]),
            Route("/counters", provisioning.count),
        ],
        exception_handlers={
            PermissionError: _answer(403, "forbidden"),
            asyncpg.UniqueViolationError: _answer(409, "exists already"),
            Problem: _answer(503, "redis unavailable"),
            **dict.fromkeys(LOST, _answer(503, "postgres unavailable")),
        },
    )


def _answer(status: int, text: str) -> Callable[[Request, Exception], JSONResponse]:
    def handler(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": text}, status_code=status)

    return handler
