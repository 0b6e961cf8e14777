"""The auth service: log in, check and close sessions. Sessions live in Postgres, tokens nowhere.

`POST /login {email, password}`, `POST /sessions/check` and `POST /sessions/close` (bearer token),
`GET /health`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from . import config, passwords, serving, tokens
from .pool import LOST, Login, PlainConnection, Pool
from .problems import Problem

T = TypeVar("T")
USER = """
SELECT tenant_id, id, email, role, password_hash FROM auth_users WHERE email = $1 AND is_active
"""
OPEN = """
WITH opened AS (
  INSERT INTO auth_sessions (tenant_id, id, user_id, expires_at) VALUES ($1, $2, $3, $4))
INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail) VALUES ($1, $3, 'login', $2)
"""
CHECK = """
SELECT 1 FROM auth_sessions
WHERE tenant_id = $1 AND id = $2 AND closed_at IS NULL AND expires_at > now() - interval '10 s'
"""
CLOSE = """
WITH closed AS (
  UPDATE auth_sessions SET closed_at = now()
  WHERE tenant_id = $1 AND id = $2 AND closed_at IS NULL RETURNING user_id)
INSERT INTO auth_audit_logs (tenant_id, user_id, event, detail)
SELECT $1, user_id, 'logout', $2 FROM closed
"""
REQUEST_SECONDS = 2.0


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a login."""

    email: str
    password: str


@dataclass(slots=True)
class AuthService:
    """The routes and what they share."""

    settings: config.Auth
    pool: Pool
    slots: asyncio.Semaphore

    async def health(self, request: Request) -> JSONResponse:
        """Alive; says nothing about Postgres."""
        return JSONResponse({"status": "ok"})

    async def login(self, request: Request) -> JSONResponse:
        """A token and its session, for the right password."""
        try:
            asked = msgspec.json.decode(await request.body(), type=Credentials)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return _problem(400, "bad_request")
        user = await self._run(lambda c: c.fetchrow(USER, asked.email))
        if user is None or not passwords.matches(asked.password, user["password_hash"]):
            return _problem(401, "wrong_credentials")
        token, session, expires = tokens.issue(
            self.settings.jwt_key, tenant=user["tenant_id"], user=user["id"], email=user["email"],
            role=user["role"], seconds=self.settings.token_seconds,
        )  # fmt: skip
        ends = datetime.fromtimestamp(expires, UTC)
        await self._run(lambda c: c.execute(OPEN, user["tenant_id"], session, user["id"], ends))
        return JSONResponse({"token": token, "user_id": user["id"], "expires": expires})

    async def check(self, request: Request) -> JSONResponse:
        """200 when the token's session is open."""
        who = tokens.verify(
            self.settings.jwt_key, tokens.bearer(request.headers.get("authorization"))
        )
        found = await self._run(lambda c: c.fetchval(CHECK, who.tenant, who.session))
        return JSONResponse({"open": True}) if found else _problem(401, "session_closed")

    async def close(self, request: Request) -> JSONResponse:
        """Close the token's session; closing twice is fine."""
        who = tokens.verify(
            self.settings.jwt_key, tokens.bearer(request.headers.get("authorization"))
        )
        await self._run(lambda c: c.execute(CLOSE, who.tenant, who.session))
        return JSONResponse({"open": False})

    async def _run(self, work: Callable[[PlainConnection], Awaitable[T]]) -> T:
        """Do one statement on a connection. Raises Problem `postgres_unavailable`."""
        healthy = False
        try:
            async with asyncio.timeout(REQUEST_SECONDS), self.slots:
                connection = await self.pool.take()
                try:
                    result = await work(connection)
                    healthy = True
                    return result
                finally:
                    self.pool.give(connection, healthy=healthy)
        except LOST:
            self.pool.breaker.failed()
            raise Problem("postgres_unavailable") from None


def app(service: AuthService) -> Starlette:
    """The routes; every expected failure is a documented status."""
    return Starlette(
        routes=[
            Route("/health", service.health),
            Route("/login", service.login, methods=["POST"]),
            Route("/sessions/check", service.check, methods=["POST"]),
            Route("/sessions/close", service.close, methods=["POST"]),
        ],
        exception_handlers={tokens.TokenError: _unauthorised, Problem: _unavailable},
    )


def _problem(status: int, code: str) -> JSONResponse:
    return JSONResponse({"error": code}, status_code=status)


async def _unauthorised(request: Request, error: Exception) -> JSONResponse:
    return _problem(401, "bad_token")


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    return _problem(503, str(error))


async def main(settings: config.Auth) -> None:
    """Run the service."""
    login = Login(
        host=settings.postgres_host, port=settings.postgres_port, database=settings.postgres_db,
        user="auth", password=settings.auth_password, application="auth",
        connect_seconds=settings.connect_timeout_ms / 1000,
    )  # fmt: skip
    service = AuthService(settings, Pool(login, 1), asyncio.Semaphore(settings.pool_max))
    await serving.serve(serving.server(app(service), 8081))
    service.pool.close()


if __name__ == "__main__":
    serving.run_main(main(config.load_or_exit(config.Auth, os.environ)))
