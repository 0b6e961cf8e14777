"""Turns the lab's actions into messages of the platform, and reads what tenants leave behind.

One session is one WebSocket; many messages are in flight on it and are told apart by `message_id`,
which is the lab's own id of the operation. Nothing is repeated behind the lab's back.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lab.actions import Action, Edit, List, Read, Spend, Work, Write
from lab.errors import LabError
from lab.system import Census, Endpoint, Refused, Reply, Site, Tenant, TenantPlan

USER, THREAD, CONFIGURATION = "user", "main", "assistant"
CLOSE_SECONDS, CONNECT_SECONDS, CALL_SECONDS = 2.0, 10.0, 30.0
ANSWER_SHARE = 0.9
"""The share of the lab's deadline that the platform is given; the rest is for the way back."""

COUNTS = """
SELECT '{0}' AS name, tenant_id, count(*) AS rows FROM {0} GROUP BY tenant_id
"""
TABLES = (
    "agent_configurations", "auth_audit_logs", "auth_users", "credit_ledger", "credits",
    "messages", "threads",
)  # fmt: skip
ROWS = " UNION ALL ".join(COUNTS.format(table) for table in TABLES)
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

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class UnknownOutcomeError(RuntimeError):
    """The platform answered with an error and does not know whether the action happened."""


def request(action: Action) -> dict[str, object]:
    """The action in the platform's words. Raises TypeError for one that it does not have."""
    match action:
        case Write(key, value):
            return {"kind": "write", "key": key, "value": value}
        case Read(key):
            return {"kind": "read", "key": key}
        case List():
            return {"kind": "list"}
        case Work(work, amount_ms):
            return {"kind": "work", "work": work, "amount_ms": amount_ms}
        case Spend(amount):
            return {"kind": "spend", "amount": amount}
        case Edit(name, version):
            return {"kind": "edit", "name": name, "version": version}
        case _:
            raise TypeError(f"no message for {action}")


def content(action: Action) -> str:
    """What a person would say; the stub model echoes it, so that mixed-up answers show."""
    match action:
        case Write(key, value):
            return f"remember {key}: {value}"
        case Read(key):
            return f"recall {key}"
        case _:
            return type(action).__name__.lower()


class WebSocketSession:
    """One tenant's socket."""

    def __init__(self, socket: ClientConnection, tenant: str) -> None:
        self._socket, self._tenant = socket, tenant
        self._waiting: dict[str, asyncio.Future[tuple[str, dict[str, Any]]]] = {}
        self._heard: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """Send one message and wait for its one answer."""
        message = {
            "type": "user_message",
            "content": content(action),
            "thread_id": THREAD,
            "user_id": USER,
            "metadata": {
                "tenant_id": self._tenant,
                "message_id": op,
                "action": request(action),
                "deadline_ms": int(deadline_seconds * 1000 * ANSWER_SHARE),
            },
        }
        if self._reader.done():
            raise ConnectionResetError("the socket has closed")
        waiter = self._waiting[op] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._send(_encode(message).decode())
                raw, reply = await waiter
        finally:
            self._waiting.pop(op, None)
        if reply["type"] == "error":
            self._heard.append(raw)
            kind = Refused if reply["definite"] else UnknownOutcomeError
            raise kind(reply["code"])
        return Reply(reply["value"], raw)

    def overheard(self) -> Sequence[str]:
        """Answers that nobody waited for, and the bodies of errors."""
        heard, self._heard = self._heard, []
        return heard

    async def close(self) -> None:
        """Close the socket and wait for the other side, within its short limit."""
        await self._socket.close()
        await self._reader

    def abort(self) -> None:
        """Reset the connection."""
        self._socket.transport.abort()

    async def _send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise ConnectionResetError(f"the socket has closed: {error}") from None

    async def _read(self) -> None:
        why = "the socket closed"
        try:
            async for text in self._socket:
                reply = _decode(text)
                waiter = self._waiting.get(reply.get("message_id") or "")
                if waiter is not None and not waiter.done():
                    waiter.set_result((str(text), reply))
                else:
                    self._heard.append(str(text))
        except ConnectionClosed as error:
            why = f"the socket closed: {error}"
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionResetError(why))


class ReferenceDriver:
    """The reference platform's driver."""

    actions: frozenset[type[Action]] = frozenset({Write, Read, List, Work, Spend, Edit})

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
        token = await self._token(tenant)
        where = self._site.entrance("client", tenant.cohort)
        try:
            socket = await connect(
                f"ws://{where}/ws",
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,
                proxy=None,
                ping_interval=None,
                open_timeout=CONNECT_SECONDS,
                close_timeout=CLOSE_SECONDS,
                max_queue=256,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403, 429):
                raise Refused(f"the upgrade was refused with {status}") from None
            raise ConnectionRefusedError(f"the upgrade failed with {status}") from None
        return WebSocketSession(socket, tenant.id)

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """Remove every row and key of these tenants."""
        await self._admin("DELETE", "/tenants", [tenant.id for tenant in tenants])

    async def census(self) -> Census:
        """Rows and open sessions by tenant, keys in Redis, long transactions and held locks."""
        rows, held = await asyncio.gather(self._rows(), self._keys())
        return rows | {"keys": held}

    async def counters(self) -> Mapping[str, Any]:
        """What the backend says of itself; for people, never evidence."""
        return _decode(await self._admin("GET", "/counters", None))

    async def close(self) -> None:
        """Close the HTTP connections."""
        if self._http is not None:
            await self._http.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
            self._http = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        return self._http

    async def _token(self, tenant: Tenant) -> str:
        where = self._site.entrance("login", tenant.cohort)
        body = _encode({"email": _email(tenant), "password": tenant.secrets["password"]})
        async with self._session().post(f"http://{where}/login", data=body) as response:
            answer = _decode(await response.read())
            if response.status == 401:
                raise Refused("the login was refused")
            if response.status != 200:
                raise ConnectionRefusedError(f"the login failed with {response.status}")
        return answer["token"]

    async def _admin(self, method: str, path: str, body: object) -> bytes:
        where = self._site.entrance("admin")
        headers = {"X-Lab-Token": self._site.variables["LAB_TOKEN"]}
        call = self._session().request(
            method, f"http://{where}{path}", headers=headers, data=_encode(body)
        )
        try:
            async with call as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise LabError(f"{method} {path} failed: {error}", where="admin") from error
        if response.status != 200:
            raise LabError(f"{method} {path}: {response.status} {answer.decode()}", where="admin")
        return answer

    def _observer(self, name: str, password: str) -> tuple[Endpoint, str]:
        return self._site.observers[name], self._site.variables[password]

    async def _rows(self) -> Census:
        where, password = self._observer("postgres", "OBSERVER_PASSWORD")
        connection = await asyncpg.connect(
            host=where.host, port=where.port, user="observer", password=password,
            database="platform", ssl=False, timeout=CONNECT_SECONDS, command_timeout=CALL_SECONDS,
        )  # fmt: skip
        try:
            rows = await connection.fetch(ROWS)
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

    async def _keys(self) -> tuple[str, ...]:
        where, password = self._observer("redis", "REDIS_OBSERVER_PASSWORD")
        redis: Any = Redis(
            host=where.host, port=where.port, username="observer", password=password,
            decode_responses=True, socket_timeout=CALL_SECONDS,
        )  # fmt: skip
        async with redis:
            return _sorted([str(key) async for key in redis.scan_iter(count=1000)])


def _email(tenant: Tenant) -> str:
    return f"{tenant.id}@tenants.test"


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def driver(site: Site) -> ReferenceDriver:
    """The driver of a running stack."""
    return ReferenceDriver(site)
