"""The reference platform's driver: tenants by the admin port, sessions over WebSocket.

It runs outside the containers, and is loaded through the stack file. Nothing is repeated behind the
lab's back; `resolve` asks afterwards what became of messages that nobody answered.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec

from lab.actions import Action, Claim, Edit, List, Raw, Read, Spend, Work, Write
from lab.errors import LabError, UsageError
from lab.system import Census, Refused, Site, Tenant, TenantPlan
from lab.transport import Line, UpgradeError

from . import governing
from .census import counted
from .session import USER, Token, UnknownOutcomeError, WebSocketSession, addressed

__all__ = ["ReferenceDriver", "UnknownOutcomeError", "WebSocketSession", "driver"]

CALL_SECONDS, ASK_SECONDS = 30.0, 3.0
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ReferenceDriver:
    """See `lab.system.Driver`."""

    actions: frozenset[type[Action]] = frozenset({Write, Read, List, Work, Spend, Edit, Claim, Raw})

    def __init__(self, site: Site) -> None:
        self._site = site
        self._http: aiohttp.ClientSession | None = None

    async def provision(self, plan: TenantPlan) -> Sequence[Tenant]:
        """Make all tenants in one call, each with one user and a password of its own."""
        tenants = [
            Tenant(
                name=name,
                id=f"{plan.prefix}-{name}",
                cohort=cohort,
                secrets={"password": secrets.token_hex(16)},
            )
            for name, cohort in plan.cohorts.items()
        ]
        body = [
            {"tenant_id": tenant.id, "user_id": USER, "email": _email(tenant), **tenant.secrets}
            for tenant in tenants
        ]
        await self._admin("POST", "/tenants", body)
        return tenants

    async def connect(self, tenant: Tenant) -> WebSocketSession:
        """Log in for a fresh token, then open the socket through the cohort's own entrance."""
        token = await self._login(tenant)
        where = self._site.entrance("client", tenant.cohort)
        try:
            headers = {"Authorization": f"Bearer {token.text}"}
            line = await Line(addressed).open(f"ws://{where}/ws", headers=headers)
        except UpgradeError as error:
            if error.status in (401, 403, 429):
                raise Refused(f"the upgrade was refused with {error.status}") from None
            raise

        async def renew(old: Token) -> Token:
            return await self._token(
                tenant, "/sessions/renew", b"", {"Authorization": f"Bearer {old.text}"}
            )

        return WebSocketSession(line, tenant.id, token, renew)

    async def resolve(self, tenant: Tenant, ops: Sequence[str]) -> dict[str, bool]:
        """Ask, on a socket of its own, which of these messages were done: op -> whether.

        An id that is not done is void from then on, so that nothing late can make the answer wrong.
        One that cannot be asked about is not in the result.
        """
        found: dict[str, bool] = {}
        session = await self.connect(tenant)
        try:
            for op in ops:
                with suppress(Refused, OSError, RuntimeError, TimeoutError):
                    found[op] = await session.outcome(op, ASK_SECONDS)
        finally:
            await session.close()
        return found

    async def revoke(self, tenants: Sequence[Tenant]) -> None:
        """Log these tenants out everywhere: their sockets are closed, and a new login works."""
        for tenant in tenants:
            token = await self._login(tenant)
            where = self._site.entrance("login", tenant.cohort)
            headers = {"Authorization": f"Bearer {token.text}"}
            call = self._session().post(f"http://{where}/sessions/close-all", headers=headers)
            async with call as response:
                if response.status != 200:
                    raise LabError(f"close-all: {response.status}", where=tenant.name)

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """Remove every row and key of these tenants."""
        await self._admin("DELETE", "/tenants", [tenant.id for tenant in tenants])

    async def census(self) -> Census:
        """Rows, keys, open sessions, long transactions and locks; sockets and files by counters."""
        counters = await self.counters()
        sockets = [f"{tenant}={open_}" for tenant, open_ in counters["sockets"].items()]
        own = {"sockets": tuple(sorted(sockets)), "files": tuple(counters["files"])}
        return await counted(self._site) | own

    async def lent(self) -> Census:
        """Connections in use, by the pid of their server process, and shares of the pool."""
        counters = await self.counters()
        connections = (f"server pid {pid} for {who}" for pid, who in counters["lent"].items())
        shares = (f"{n} of the pool for {who}" for who, n in counters["held"].items())
        return {"connections": tuple(sorted(connections)), "shares": tuple(sorted(shares))}

    async def counters(self) -> Mapping[str, Any]:
        """What the backend says of itself."""
        return _decode(await self._admin("GET", "/counters", None))

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """See `lab.system.Metered`."""
        return governing.meters(await self.counters())

    async def limits(self, tenant: Tenant) -> Mapping[str, float]:
        """See `lab.system.Governed`."""
        return await governing.limits(self._changed, tenant.id)

    async def limit(self, tenant: Tenant, kind: str, amount: float) -> float:
        """See `lab.system.Governed`."""
        return await governing.limit(self._changed, tenant.id, kind, amount)

    async def unlimit(self, tenant: Tenant, kind: str) -> None:
        """See `lab.system.Governed`."""
        with suppress(UsageError):  # who is not there is held to nothing
            await governing.limit(self._changed, tenant.id, kind, None)

    async def close(self) -> None:
        """Close the HTTP connections."""
        if self._http is not None:
            await self._http.close()

    async def _changed(
        self, tenant: str, change: Mapping[str, float | None]
    ) -> Mapping[str, float]:
        """Change quotas, on every replica; what the tenant is held to from now on."""
        told = b""
        for door in ("admin", "admin2"):
            if not told or (door, "") in self._site.entrances:
                told = await self._admin("PATCH", f"/tenants/{tenant}/quotas", change, door)
        return _decode(told)

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
            self._http = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        return self._http

    async def _login(self, tenant: Tenant) -> Token:
        """A token for the password."""
        body = _encode({"email": _email(tenant), "password": tenant.secrets["password"]})
        return await self._token(tenant, "/login", body, {})

    async def _token(
        self, tenant: Tenant, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Token:
        """What auth answers. Raises Refused for a definite no."""
        url = f"http://{self._site.entrance('login', tenant.cohort)}{path}"
        async with self._session().post(url, data=body, headers=headers) as response:
            if response.status == 401:
                raise Refused("the login was refused")
            if response.status != 200:
                raise ConnectionRefusedError(f"the login failed with {response.status}")
            answer = _decode(await response.read())
        return Token(answer["token"], answer["expires"])

    async def _admin(self, method: str, path: str, body: object, door: str = "admin") -> bytes:
        where = self._site.entrance(door)
        headers = {"X-Lab-Token": self._site.variables["LAB_TOKEN"]}
        call = self._session().request(
            method, f"http://{where}{path}", headers=headers, data=_encode(body)
        )
        try:
            async with call as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise LabError(f"{method} {path} failed: {error}", where="admin") from error
        if response.status == 404:
            raise UsageError("there is no such tenant", where=path)
        if response.status != 200:
            raise LabError(f"{method} {path}: {response.status} {answer.decode()}", where="admin")
        return answer


def _email(tenant: Tenant) -> str:
    return f"{tenant.id}@tenants.test"


def driver(site: Site) -> ReferenceDriver:
    """The driver of a running stack."""
    return ReferenceDriver(site)
