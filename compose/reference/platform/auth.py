"""The auth service: log in, renew, check, close. Sessions live in Postgres, tokens nowhere.

`/openapi.json` describes its routes. Backends show a token of their own to those meant for them.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import time
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute

from . import api, config, defects, health, log, metrics, passwords, serving, switch, tokens
from .accounts import Accounts
from .defects import planted
from .messages import Id
from .pool import Login, Pool
from .problems import Problem
from .tickets import LIFE_SECONDS, Tickets
from .tokens import Account, Principal

SESSIONS_BODY_BYTES = 1024 * 1024
LATER_MAX = 1000
"""Rows of the audit log that may wait to be written; what is more is in the log only."""


class Credentials(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a login."""

    email: passwords.Email
    password: passwords.Password


class Sessions(msgspec.Struct, forbid_unknown_fields=True):
    """Pairs of tenant and session."""

    sessions: list[tuple[Id, Id]]


class Ticket(msgspec.Struct, forbid_unknown_fields=True):
    """A ticket to be redeemed."""

    ticket: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class User(msgspec.Struct, forbid_unknown_fields=True):
    """Whom an operator means."""

    tenant_id: Id
    user_id: Id


@dataclass(slots=True)
class AuthService:
    """The endpoints and what they share."""

    settings: config.Auth
    accounts: Accounts
    tickets: Tickets = field(default_factory=Tickets)
    later: set[asyncio.Task[None]] = field(default_factory=set)
    known: dict[object, Principal] = field(default_factory=dict)  # planted only

    async def login(self, request: Request) -> JSONResponse:
        """A token and its session for the right password.

        Every refusal has one wording and takes one time, whether or not the user exists.
        """
        try:
            asked = await api.decoded(request, Credentials)
        except Problem as problem:
            if planted("error_tells_internals"):
                return JSONResponse(
                    {"error": problem.code, "detail": traceback.format_exc()}, status_code=400
                )
            raise
        user = await self.accounts.user(asked.email)
        if user is None and planted("login_wording_tells"):
            return JSONResponse({"error": "unknown_user"}, status_code=401)
        stored = passwords.NOBODY if user is None else user["password_hash"]
        right = not (user is None and planted("login_time_tells"))
        right = right and await asyncio.to_thread(passwords.matches, asked.password, stored)
        active = user is not None and (user["is_active"] or planted("inactive_user_logs_in"))
        if user is None or not (right and active):
            metrics.logins.labels("refused").inc()
            if user is not None:
                self._audit(user["tenant_id"], user["id"], "login_refused", f"{right=} {active=}")
            raise Problem("wrong_credentials")
        metrics.logins.labels("let in").inc()
        account = Account(
            tenant=user["tenant_id"], user=user["id"], email=user["email"], role=user["role"]
        )
        session = tokens.new_session()
        token, expires = self._issue(account, session)
        await self.accounts.open(account.tenant, session, account.user, expires)
        return JSONResponse({"token": token, "user_id": account.user, "expires": expires})

    async def renew(self, request: Request) -> JSONResponse:
        """The next token of an open session."""
        who = self._who(request)
        found = await self.accounts.renew(who, int(time.time()) + self.settings.token_seconds)
        if found is None:
            self._audit(who.tenant, who.user, "renewal_refused", who.session)
            raise Problem("unauthorised")
        account = Account(
            tenant=who.tenant, user=who.user, email=found["email"], role=found["role"]
        )
        token, expires = self._issue(account, who.session)
        return JSONResponse({"token": token, "expires": expires})

    async def check(self, request: Request) -> JSONResponse:
        """200 when the token's session is open, and whose it is."""
        who = self._who(request)
        if planted("identity_by_connection"):
            who = self.known.setdefault(request.client, who)
        if not await self.accounts.is_open(who):
            self._audit(who.tenant, who.user, "session_refused", who.session)
            raise Problem("unauthorised")
        return JSONResponse({"open": True, "tenant_id": who.tenant, "user_id": who.user})

    async def close(self, request: Request) -> JSONResponse:
        """Close the token's session; closing twice is fine."""
        await self.accounts.close(self._who(request))
        return JSONResponse({"open": False})

    async def close_all(self, request: Request) -> JSONResponse:
        """Close every session of the token's user, this one included."""
        who = self._who(request)
        if not await self.accounts.is_open(who):
            raise Problem("unauthorised")
        await self.accounts.close_all(who)
        return JSONResponse({"open": False})

    async def ticket(self, request: Request) -> JSONResponse:
        """A ticket for one socket."""
        token = tokens.bearer(request.headers.get("authorization"))
        who = tokens.verify(self.settings.jwt_key, token)
        if not await self.accounts.is_open(who):
            raise Problem("unauthorised")
        ticket = self.tickets.give(token, (who.tenant, who.user))
        return JSONResponse({"ticket": ticket, "seconds": LIFE_SECONDS})

    async def redeem(self, request: Request) -> JSONResponse:
        """For backends: the token that a ticket stands for, once."""
        self._service(request)
        token = self.tickets.redeem((await api.decoded(request, Ticket)).ticket)
        if token is None:
            raise Problem("unauthorised")
        return JSONResponse({"token": token})

    async def over(self, request: Request) -> JSONResponse:
        """For backends: which of these sessions are over."""
        self._service(request)
        asked = await api.decoded(request, Sessions, SESSIONS_BODY_BYTES)
        return JSONResponse({"over": await self.accounts.over(asked.sessions)})

    async def deactivate(self, request: Request) -> JSONResponse:
        """For the operator: the user can do nothing any more, within a second."""
        given, wanted = request.headers.get("x-lab-token", ""), self.settings.lab_token
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Problem("forbidden")
        user = await api.decoded(request, User)
        if not await self.accounts.deactivate(user.tenant_id, user.user_id):
            raise Problem("unknown_tenant")
        return JSONResponse({"active": False})

    def _issue(self, account: Account, session: str) -> tuple[str, int]:
        return tokens.issue(self.settings.jwt_key, account, session, self.settings.token_seconds)

    def _who(self, request: Request) -> Principal:
        token = tokens.bearer(request.headers.get("authorization"))
        return tokens.verify(self.settings.jwt_key, token)

    def _service(self, request: Request) -> None:
        token = tokens.bearer(request.headers.get("authorization"))
        tokens.verify_service(self.settings.jwt_key, token)

    def _audit(self, tenant: str, user: str, event: str, detail: str) -> None:
        """Write the row after the answer, so that no answer takes longer for it."""
        if planted("refusals_not_audited"):
            return
        log.line(event, tenant=tenant)
        self._later(self.accounts.audit(tenant, user, event, detail))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        if len(self.later) >= LATER_MAX:
            work.close()
            log.line("audit_row_lost", reason="too many are waiting")
            return

        async def noted() -> None:
            try:
                await work
            except Problem as problem:
                log.line("audit_row_lost", reason=problem.code)

        task = asyncio.get_running_loop().create_task(noted())
        self.later.add(task)
        task.add_done_callback(self.later.discard)


def app(service: AuthService, routes: list[BaseRoute]) -> Starlette:
    """The routes; every expected failure is a documented code."""
    down, bearer = ("postgres_unavailable", "internal"), "bearer"
    mine = [
        api.route("POST", "/login", service.login, "A token, for email and password.",
                  body=Credentials, problems=("wrong_credentials", *down)),
        api.route("POST", "/sessions/renew", service.renew, "The session's next token.",
                  guard=bearer, problems=("unauthorised", *down)),
        api.route("POST", "/sessions/check", service.check, "Whose session it is, if it is open.",
                  guard=bearer, problems=("unauthorised", *down)),
        api.route("POST", "/sessions/close", service.close, "Log out.",
                  guard=bearer, problems=("unauthorised", *down)),
        api.route("POST", "/sessions/close-all", service.close_all, "Log out everywhere.",
                  guard=bearer, problems=("unauthorised", *down)),
        api.route("POST", "/sessions/over", service.over, "Backends: which of these are over.",
                  body=Sessions, guard=bearer, problems=("unauthorised", *down)),
        api.route("POST", "/tickets", service.ticket, "A ticket for one socket, for ten seconds.",
                  guard=bearer, problems=("unauthorised", *down)),
        api.route("POST", "/tickets/redeem", service.redeem, "Backends: the token of a ticket.",
                  body=Ticket, guard=bearer, problems=("unauthorised", "internal")),
    ]  # fmt: skip
    if service.settings.lab_token:
        mine.append(
            api.route("POST", "/users/deactivate", service.deactivate, "Shut a user out.",
                      body=User, guard="lab", problems=("forbidden", "unknown_tenant", *down))
        )  # fmt: skip
    switches = switch.routes(service.settings.lab_token)
    return api.application("auth", [*mine, *routes, *switches])


async def main(settings: config.Auth) -> None:
    """Run the service."""
    login = Login(
        host=settings.postgres_host, port=settings.postgres_port, database=settings.postgres_db,
        user="auth", password=settings.auth_password, application="auth",
        connect_seconds=settings.connect_timeout_ms / 1000,
    )  # fmt: skip
    pool = Pool(login, 1, settings.pool_max)
    service = AuthService(settings, Accounts(pool, settings.pool_max))
    stopping = asyncio.Event()

    async def drain() -> None:
        stopping.set()
        if service.later:
            await asyncio.wait(service.later, timeout=1)

    common = health.routes({"postgres": pool.probe}, stopping.is_set)
    await serving.serve(serving.server(app(service, common), 8081), drain=drain)
    pool.close()


if __name__ == "__main__":
    loaded = config.load_or_exit(config.Auth, os.environ)
    defects.plant_or_exit(loaded.lab_defects, loaded.lab_token)
    serving.run_main(main(loaded))
