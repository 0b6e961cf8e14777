"""Settings by environment variables, read once and checked before anything starts.

Every field of a settings class is a variable of the same name in capitals, documented by its
comment. A field without a default is required.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TypeVar

import msgspec

from .quotas import parsed

KEY_HEX_DIGITS = 64
"""A signing key is at least 32 bytes, told in hex."""
TOKEN_MAX_SECONDS = 3600
AGENT_MODES = ("shared", "process", "container")


class SettingsError(Exception):
    """A variable is missing, malformed or too weak; one line, said before the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What backend and auth share."""

    jwt_key: str  # at least 32 random bytes, in hex
    postgres_host: str = "postgres"
    postgres_port: int = 5432
    postgres_db: str = "platform"
    postgres_pooled: int = 0  # 1: a pooler stands between, which hands out servers by transaction
    pool_min: int = 5  # connections kept open
    pool_max: int = 20  # connections at most
    connect_timeout_ms: int = 800  # a connection that is not up by then is given up
    store_timeout_ms: int = 1000  # one round trip to Postgres or Redis; longer work says so itself
    lab_token: str = ""  # guards the admin port; without it neither that port nor defects exist
    lab_defects: str = ""  # comma list of planted defects


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(Common):
    """The backend's variables."""

    app_password: str  # Postgres role app
    provisioner_password: str  # Postgres role provisioner (admin port only)
    redis_password: str  # Redis user app
    redis_host: str = "redis"
    redis_port: int = 6379
    auth_url: str = "http://auth:8081"
    llm_url: str = "http://llm:8082"
    agent_mode: str = "process"  # shared, process, or container: agents dial in at port 8002
    agent_key: str = ""  # proves whose agent dials in; required in mode container
    replica: str = ""  # this replica's name, where there are several: agents have one owner then
    port: int = 8000
    state_ttl_seconds: int = 3600  # life of agent state after its last write
    message_deadline_ms: int = 5000  # for messages that bring none
    message_deadline_max_ms: int = 15000
    tenant_quotas: str = "{}"  # what a tenant has that got none of its own: JSON, see quotas.py
    claim_lease_seconds: float = 30.0  # life of a claim that its socket no longer renews
    sockets_max: int = 2000  # of all tenants together
    allowed_origins: str = ""  # comma list of browser origins; with none, no browser gets in
    allow_url_token: int = 0  # 1: `?token=` is taken, for old clients; it can end up in logs
    drain_seconds: float = 3.0  # how long SIGTERM waits for what is in flight


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth(Common):
    """The auth service's variables."""

    auth_password: str  # Postgres role auth
    token_seconds: int = 300  # life of a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Llm:
    """The stub model's variables."""

    llm_delay_ms: int = 20  # to the first token of an answer
    llm_tokens_per_second: int = 20_000  # from then on
    lab_token: str = ""  # guards the switch that makes the model fail; without it there is none


S = TypeVar("S", Backend, Auth, Llm)


def load(kind: type[S], environ: Mapping[str, str]) -> S:
    """Read and check the settings. Raises SettingsError with one line that names the variable."""
    values: dict[str, object] = {}
    for entry in fields(kind):
        name = entry.name.upper()
        text = environ.get(name, "")
        if text:
            values[entry.name] = _parsed(name, text, str(entry.type))
        elif entry.default is MISSING:
            raise SettingsError(f"{name} is required and not set")
    settings = kind(**values)  # type: ignore[arg-type]
    _check(settings)
    return settings


def load_or_exit(kind: type[S], environ: Mapping[str, str]) -> S:
    """As `load`; a mistake is told in one line on stderr and ends the process with 2."""
    try:
        return load(kind, environ)
    except SettingsError as error:
        sys.stderr.write(f"configuration: {error}\n")
        raise SystemExit(2) from None


def _parsed(name: str, text: str, kind: str) -> str | int | float:
    if kind == "str":
        return text
    try:
        number = int(text) if kind == "int" else float(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number, not {text!r}") from None
    if number < 0:
        raise SettingsError(f"{name} must not be negative")
    return number


def _check(settings: Backend | Auth | Llm) -> None:
    if isinstance(settings, Llm):
        return
    for name in ("postgres_port", "redis_port"):
        if not 1 <= getattr(settings, name, 1) <= 65535:
            raise SettingsError(f"{name.upper()} must be a port, from 1 to 65535")
    if settings.connect_timeout_ms == 0 or settings.store_timeout_ms == 0:
        raise SettingsError("CONNECT_TIMEOUT_MS and STORE_TIMEOUT_MS must be above 0")
    if isinstance(settings, Auth) and not 1 <= settings.token_seconds <= TOKEN_MAX_SECONDS:
        raise SettingsError(f"TOKEN_SECONDS must be from 1 to {TOKEN_MAX_SECONDS}")
    key = settings.jwt_key
    if len(key) < KEY_HEX_DIGITS or not all(c in "0123456789abcdef" for c in key.lower()):
        raise SettingsError("JWT_KEY must be at least 32 random bytes in hex")
    if len(set(key)) < 8:
        raise SettingsError("JWT_KEY is not random: too few different digits")
    if not 1 <= settings.pool_min <= settings.pool_max:
        raise SettingsError("POOL_MIN and POOL_MAX must be 1 <= min <= max")
    if not isinstance(settings, Backend):
        return
    for name in ("auth_url", "llm_url"):
        if not getattr(settings, name).startswith(("http://", "https://")):
            raise SettingsError(f"{name.upper()} must be an http address")
    if settings.sockets_max == 0 or settings.message_deadline_ms == 0:
        raise SettingsError("SOCKETS_MAX and MESSAGE_DEADLINE_MS must be above 0")
    try:
        parsed(settings.tenant_quotas)
    except msgspec.DecodeError as error:  # a ValidationError is one, too
        raise SettingsError(f"TENANT_QUOTAS: {error}") from None
    if settings.agent_mode not in AGENT_MODES:
        told = f"{', '.join(AGENT_MODES)}, not {settings.agent_mode!r}"
        raise SettingsError(f"AGENT_MODE must be one of {told}")
    if settings.agent_mode == "container" and len(settings.agent_key) < KEY_HEX_DIGITS:
        raise SettingsError("AGENT_KEY must be at least 32 random bytes in hex")
