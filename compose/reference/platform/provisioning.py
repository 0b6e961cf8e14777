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

from . import api, passwords, switch
from .admission import Admission
from .defects import planted
from .messages import Id
from .pool import LOST, Login, PlainConnection, connect
from .problems import Problem
from .quotas import changed
from .state import States

THREAD, CONFIGURATION = "main", "assistant"
BODY_BYTES = 8 * 1024 * 1024
TABLES = (
    "deliveries", "outbox", "usage", "allocations", "resources", "credit_ledger", "credits",
    "messages", "threads", "agent_configurations",
    "auth_sessions", "auth_audit_logs", "auth_users", "tenants",
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
    """INSERT INTO resources (tenant_id, name, capacity)
       SELECT DISTINCT ON (tenant) tenant, 'seat', units
       FROM unnest($1::text[], $2::int[]) AS made (tenant, units)""",
)
USERS = "SELECT tenant_id, id FROM auth_users WHERE tenant_id = ANY($1)"
USERS_BY_PREFIX = "SELECT tenant_id, id FROM auth_users WHERE tenant_id LIKE ANY($1)"
REGISTER = """
INSERT INTO tenants (tenant_id, quotas)
SELECT DISTINCT ON (tenant) tenant, quotas::jsonb
FROM unnest($1::text[], $2::text[]) AS made (tenant, quotas)
"""
CHANGE = """
UPDATE tenants SET quotas = jsonb_strip_nulls(quotas || $2::jsonb)
WHERE tenant_id = $1 RETURNING quotas
"""


class NewTenant(msgspec.Struct, forbid_unknown_fields=True):
    """One tenant with one user."""

    tenant_id: Id
    user_id: Id
    email: passwords.Email
    password: passwords.Password
    credits: int = 1000
    # where they are its own; the schema could not tell a plain default
    quotas: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    units: int = 2  # of the limited resource "seat"


@dataclass(slots=True)
class Provisioning:
    """Works as role `provisioner`, on a connection made for the call."""

    login: Login
    states: States
    token: str
    counters: Callable[[], dict[str, Any]]
    admission: Admission  # what the backend counts, and holds its tenants to

    async def create(self, request: Request) -> JSONResponse:
        """`POST /tenants [NewTenant...]`: all or none, in one transaction."""
        self._guard(request)
        tenants = await api.decoded(request, list[NewTenant], BODY_BYTES)
        try:
            kept = [bytes(tenant.quotas) for tenant in tenants]
            for quotas in kept:
                changed(self.admission.default, quotas)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Problem("bad_request", detail=str(error)) from None
        hashes = await asyncio.to_thread(lambda: [passwords.hashed(t.password) for t in tenants])
        ids, users = [t.tenant_id for t in tenants], [t.user_id for t in tenants]
        emails, roles = [t.email for t in tenants], ["user"] * len(tenants)
        async with asyncio.timeout(20):
            connection = await connect(self.login)
            try:
                async with connection.transaction():
                    await connection.execute(REGISTER, ids, [text.decode() for text in kept])
                    await connection.execute(CREATE[0], ids, users, emails, roles, hashes)
                    await connection.execute(CREATE[1], ids)
                    await connection.execute(CREATE[2], ids)
                    await connection.execute(CREATE[3], ids, users, [t.credits for t in tenants])
                    await connection.execute(CREATE[4], ids, [t.units for t in tenants])
            finally:
                connection.terminate()
        return JSONResponse({"created": len(tenants)})

    async def retire(self, request: Request) -> JSONResponse:
        """`DELETE /tenants [id...]`: every row and key of these tenants."""
        self._guard(request)
        ids = await api.decoded(request, list[Id], BODY_BYTES)
        async with asyncio.timeout(20):
            connection = await connect(self.login)
            try:
                async with connection.transaction():  # a key that stays brings the rows back
                    users = await self._deleted(connection, ids)
                    await self._forget(users)
            finally:
                connection.terminate()
            await self._forget(users)  # what was on its way into Redis meanwhile
        for tenant in ids:
            self.admission.forget(tenant)
        return JSONResponse({"retired": len(ids)})

    async def change(self, request: Request) -> JSONResponse:
        """`PATCH /tenants/{id}/quotas {name: number...}`: held to at once, and then kept.

        A null takes the tenant's own away; no name at all asks what it is held to. What cannot be
        kept is not held to either.
        """
        self._guard(request)
        tenant = request.path_params["tenant"]
        body = bytes(await api.decoded(request, msgspec.Raw))
        admission, now = self.admission, asyncio.get_running_loop().time
        try:
            before = admission.quotas(tenant)
            quotas = changed(before, body, admission.default)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Problem("bad_request", detail=str(error)) from None
        if tenant in admission.tallies:
            if not msgspec.json.decode(body):
                return JSONResponse(msgspec.to_builtins(before))
            admission.set_quotas(tenant, quotas, now())
        try:
            kept = body if planted("quotas_not_kept") else await self._kept(tenant, body)
            if kept is None:
                raise Problem("unknown_tenant")
        except BaseException:
            if tenant in admission.tallies:
                admission.set_quotas(tenant, before, now())
            raise
        quotas = changed(admission.default, kept)
        admission.set_quotas(tenant, quotas, now())
        return JSONResponse(msgspec.to_builtins(quotas))

    async def _kept(self, tenant: str, changes: bytes) -> bytes | None:
        """The tenant's own quotas after the change; None when there is no such tenant."""
        async with asyncio.timeout(20):
            connection = await connect(self.login)
            try:
                kept = await connection.fetchval(CHANGE, tenant, changes.decode())
            finally:
                connection.terminate()
        return kept.encode() if kept else None

    async def count(self, request: Request) -> JSONResponse:
        """`GET /counters`: what the rooms know of themselves."""
        self._guard(request)
        return JSONResponse(self.counters())

    async def _forget(self, users: list[tuple[str, str]]) -> None:
        for tenant, user in users:
            await self.states.forget(tenant, user)

    async def _deleted(self, connection: PlainConnection, ids: list[str]) -> list[tuple[str, str]]:
        rows = await connection.fetch(USERS, ids)
        if planted("cleanup_by_prefix"):
            rows = await connection.fetch(USERS_BY_PREFIX, [f"{tenant}%" for tenant in ids])
        if planted("cleanup_without_tenant"):
            names = [row["id"] for row in rows]
            await connection.execute("DELETE FROM messages WHERE user_id = ANY($1)", names)
        for table in TABLES:
            await connection.execute(f"DELETE FROM {table} WHERE tenant_id = ANY($1)", ids)
        return [(row["tenant_id"], row["id"]) for row in rows]

    def _guard(self, request: Request) -> None:
        given = request.headers.get("x-lab-token", "")
        good = self.token and hmac.compare_digest(given.encode(), self.token.encode())
        if not good and not planted("admin_unguarded"):
            raise Problem("forbidden")


def app(provisioning: Provisioning) -> Starlette:
    """The admin routes."""
    lab, down = "lab", ("forbidden", "postgres_unavailable", "internal")
    routes = [
        api.route("POST", "/tenants", provisioning.create, "Make tenants: all of them or none.",
                  body=list[NewTenant], guard=lab, problems=("exists_already", *down)),
        api.route("DELETE", "/tenants", provisioning.retire, "Remove all that tenants have.",
                  body=list[Id], guard=lab, problems=("redis_unavailable", *down)),
        api.route("PATCH", "/tenants/{tenant}/quotas", provisioning.change, "Change quotas.",
                  body=dict[str, float | None], guard=lab, problems=("unknown_tenant", *down)),
        api.route("GET", "/counters", provisioning.count, "What the backend knows of itself.",
                  guard=lab, problems=("forbidden",)),
        *switch.routes(provisioning.token),
    ]  # fmt: skip
    return api.application(
        "backend, admin port",
        routes,
        {
            asyncpg.UniqueViolationError: "exists_already",
            asyncpg.IntegrityConstraintViolationError: "bad_request",
            asyncpg.DataError: "bad_request",
            **dict.fromkeys(LOST, "postgres_unavailable"),
        },
    )
