"""What may stand in a `stack.yaml`: a subset of the compose specification, and the `x-lab` block.

The fields are the documentation's keys (`docs/stack-file.md`); anything else is refused by name.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import fields

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmg]?)b?", re.IGNORECASE)

Words = str | tuple[str, ...]
Scalar = str | int | float | bool | None


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping whose keys are known."""


class Build(Strict, frozen=True):
    """How an image is built: `context` relative to the stack file."""

    context: str = "."


class Healthcheck(Strict, frozen=True):
    """When a service is ready. The lab runs `test` itself, until it succeeds once, and never after.

    The engine would go on probing for the whole run and disturb what is measured, so its timing
    settings are accepted (the file stays an ordinary compose file) and have no effect here.
    """

    test: Words = ()
    disable: bool = False
    interval: str = ""
    timeout: str = ""
    retries: int = 0
    start_period: str = ""
    start_interval: str = ""


class Dependency(Strict, frozen=True):
    """What has to be true of another service before this one starts."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"] = (
        "service_started"
    )


class Limits(Strict, frozen=True):
    """A ulimit with two ends."""

    soft: int
    hard: int


class Service(Strict, frozen=True):
    """One container, in the compose specification's words."""

    image: str = ""
    build: str | Build | None = None
    command: Words | None = None
    entrypoint: Words | None = None
    environment: dict[str, Scalar] | tuple[str, ...] = {}
    volumes: tuple[str, ...] = ()
    tmpfs: Words = ()
    healthcheck: Healthcheck | None = None
    depends_on: tuple[str, ...] | dict[str, Dependency] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    read_only: bool = False
    user: str | int = ""
    working_dir: str = ""
    init: bool = True
    mem_limit: str | int = 0
    cpus: str | float = 0.0
    cpu_shares: int = 0
    pids_limit: int = 0
    shm_size: str | int = 0
    stop_signal: str = ""
    stop_grace_period: str = ""
    ulimits: dict[str, int | Limits] = {}
    labels: dict[str, Scalar] | tuple[str, ...] = {}
    hostname: str = ""
    restart: str = "no"

    @property
    def conditions(self) -> dict[str, str]:
        """Service -> what it has to be before this one starts."""
        if isinstance(self.depends_on, dict):
            return {name: needed.condition for name, needed in self.depends_on.items()}
        return dict.fromkeys(self.depends_on, "service_started")


class LinkBlock(Strict, frozen=True):
    """An edge to interpose."""

    consumers: tuple[str, ...] = field(name="from")
    to: str
    kind: Literal["postgres", "redis", "http", "tcp"] = "tcp"


class EntranceBlock(Strict, frozen=True):
    """A way in from this host."""

    to: str
    per_cohort: bool = False


class AgentsBlock(Strict, frozen=True):
    """How a tenant's agent process is recognised, and in which services."""

    service: str | tuple[str, ...]
    argv: str

    @property
    def services(self) -> tuple[str, ...]:
        """The services to look in."""
        return (self.service,) if isinstance(self.service, str) else self.service


class PostgresBlock(Strict, frozen=True):
    """How the lab is the administrator of a Postgres: `psql` and `pgbench` inside its container.

    user: a superuser; password: the name of a variable in the container's own environment, for
    servers that ask for one on their socket; marker: a table whose column `run` holds the run's id.
    tenant_column: whose row it is; tenant_sessions: a condition on pg_stat_activity, `{tenant}` in
    it is the tenant's id.
    """

    service: str
    marker: str
    user: str = "postgres"
    database: str = "postgres"
    password: str = ""
    tenant_column: str = ""
    tenant_sessions: str = ""


class RedisBlock(Strict, frozen=True):
    """How the lab is the administrator of a Redis: `redis-cli` inside its container.

    password: as for Postgres; tenant_keys: a pattern of KEYS, `{tenant}` in it is the tenant's id.
    """

    service: str
    user: str = "default"
    password: str = ""
    tenant_keys: str = ""


class StoresBlock(Strict, frozen=True):
    """The stores that faults may reach from inside."""

    postgres: PostgresBlock | None = None
    redis: RedisBlock | None = None


class StubBlock(Strict, frozen=True):
    """Two commands inside a service that stands in for another: answer `{status}`, and as ever."""

    fail: str
    mend: str


class LabBlock(Strict, frozen=True):
    """The `x-lab` block."""

    driver: str = "driver.py"
    variables: tuple[str, ...] = ()
    links: dict[str, LinkBlock] = {}
    entrances: dict[str, EntranceBlock] = {}
    observers: dict[str, str] = {}
    abilities: tuple[Literal["agents", "census", "quotas"], ...] = ()
    agents: AgentsBlock | None = None
    disks: dict[str, str] = {}
    clocks: tuple[str, ...] = ()
    stores: StoresBlock = StoresBlock()
    stubs: dict[str, StubBlock] = {}
    modes: tuple[str, ...] = ()
    variants: dict[str, dict[str, object]] = {}
    per_tenant: str = ""
    defects: str = ""


NESTED_KEYS = tuple(
    each.encode_name
    for kind in (
        *(Build, Healthcheck, Dependency, Limits, LinkBlock, EntranceBlock, AgentsBlock),
        *(PostgresBlock, RedisBlock, StoresBlock, StubBlock),
    )
    for each in fields(kind)
)
"""The keys below a service's or the block's own, to guess at what was meant."""

REFUSED = {
    "ports": "the lab publishes what `x-lab.entrances` and `x-lab.observers` name",
    "expose": "the lab publishes what `x-lab.entrances` and `x-lab.observers` name",
    "networks": "the lab makes the networks from `x-lab.links`",
    "network_mode": "the lab makes the networks from `x-lab.links`",
    "links": "edges are named in `x-lab.links`",
    "container_name": "the lab names containers after the run",
    "privileged": "the lab starts no privileged container",
    "env_file": "use `environment` and `x-lab.variables`",
}
"""Compose keys that people try first, and what does the same here."""


def pairs(entries: dict[str, Scalar] | tuple[str, ...]) -> dict[str, str]:
    """A compose mapping-or-list (`A: 1` or `- A=1`) as text; true and false as YAML writes them."""
    if isinstance(entries, tuple):
        return {name: value for name, _, value in (entry.partition("=") for entry in entries)}
    return {name: _text(value) for name, value in entries.items()}


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def size(text: str | int) -> int:
    """Bytes, from compose's `256m` or `1g` (powers of 1024). Raises ValueError."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"`{text}` is not a size such as 256m")
    power = " kmg".index(match[2].lower()) if match[2] and match[2].lower() != "b" else 0
    return round(float(match[1]) * 1024**power)
