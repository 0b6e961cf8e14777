"""How a system is laid out on the engine: networks, aliases, proxies, ports. Pure.

    net <consumer>   internal; the consumer, and Toxiproxy under the names of all it consumes
    net origin       internal; services that consume nothing
    net edge         Toxiproxy alone; the only network that leads out, for ports on 127.0.0.1

A consumer that asks for `redis` gets Toxiproxy; it asks for `redis-origin`: the server.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.types import LogConfig, Ulimit

from lab.engine.limits import label_of
from lab.errors import UsageError
from lab.stack.file import FILE_NAME, SystemFile, Target
from lab.stack.schema import Limits, Service, Words, pairs, size

TOXIPROXY_IMAGE = "crosstalk/toxiproxy:2.12.0"
TOXIPROXY = "toxiproxy"
EDGE = "edge"
ORIGIN = "origin"
OBSERVER = "observer"
FIRST_PORT = 20000
"""Toxiproxy's ports for entrances and observers start here, above what services listen on."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One listener of Toxiproxy: `name` as `redis@app`; `network` is the one whose address it has.

    Those on the edge are published on this host.
    """

    name: str
    network: str
    port: int
    upstream: str


@dataclass(frozen=True)
class Plan:
    """Where everything goes. `aliases`: network -> the names that Toxiproxy has in it."""

    home: Mapping[str, str]
    aliases: Mapping[str, tuple[str, ...]]
    proxies: tuple[Proxy, ...]
    entrances: Mapping[tuple[str, str], int]
    observers: Mapping[str, int]

    @property
    def networks(self) -> tuple[str, ...]:
        """Every network, the one that leads out first."""
        return (EDGE, *self.aliases)

    @property
    def published(self) -> tuple[int, ...]:
        """Toxiproxy's ports that this host reaches, besides its control port."""
        return (*self.entrances.values(), *self.observers.values())

    @property
    def faultable(self) -> tuple[str, ...]:
        """The proxies a fault may touch: all but the observers'."""
        return tuple(p.name for p in self.proxies if not p.name.startswith(f"{OBSERVER}@"))


def plan(system: SystemFile, cohorts: Sequence[str]) -> Plan:
    """Lay out `system` for these cohorts; none at all gives every entrance one proxy."""
    consumers = {c for link in system.links.values() for c in link.consumers}
    home = {name: name if name in consumers else ORIGIN for name in system.services}
    aliases: dict[str, tuple[str, ...]] = dict.fromkeys(home.values(), ())
    proxies: list[Proxy] = []
    for name, link in system.links.items():
        for consumer in link.consumers:
            aliases[consumer] = tuple(dict.fromkeys((*aliases[consumer], link.to.service)))
            proxies.append(Proxy(f"{name}@{consumer}", consumer, link.to.port, _origin(link.to)))
    entrances: dict[tuple[str, str], int] = {}
    for name, entrance in system.entrances.items():
        for cohort in (cohorts or ("",)) if entrance.per_cohort else ("",):
            port = entrances[name, cohort] = FIRST_PORT + len(entrances)
            proxy = f"{name}@{cohort}" if cohort else name
            proxies.append(Proxy(proxy, EDGE, port, _origin(entrance.to)))
    observers: dict[str, int] = {}
    for name, target in system.observers.items():
        port = observers[name] = FIRST_PORT + len(entrances) + len(observers)
        proxies.append(Proxy(f"{OBSERVER}@{name}", EDGE, port, _origin(target)))
    return Plan(home, aliases, tuple(proxies), entrances, observers)


def _origin(target: Target) -> str:
    return f"{target.service}-origin:{target.port}"


def probe(service: Service) -> list[str] | None:
    """The command that succeeds once the service is ready; None when it has no health check.

    It repeats the check inside the container, so that readiness costs one engine call and is seen
    within 50 ms. Needs `sh` in the image.
    """
    check = service.healthcheck
    words = () if check is None or check.disable else check.test
    if not words or words == ("NONE",):
        return None
    again = "; do sleep 0.05; done"
    if isinstance(words, str) or words[0] == "CMD-SHELL":
        line = words if isinstance(words, str) else words[1]
        return ["sh", "-c", f"until {{ {line}\n}} >/dev/null 2>&1{again}"]
    return ["sh", "-c", f'until "$@" >/dev/null 2>&1{again}', "sh", *words[1:]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a container is created with; `others` in the words of docker-py's `containers.create`.

    volumes: source, target, rights (`ro` or `rw`).
    """

    command: list[str] | None
    environment: dict[str, str]
    volumes: tuple[tuple[str, str, str], ...]
    tmpfs: tuple[str, ...]
    others: dict[str, object]


def create_settings(service: Service, name: str, folder: Path, volume_prefix: str) -> Settings:
    """The settings for a service, its `${VAR}` filled in. Raises ValueError for a bad size."""
    optional: dict[str, object] = {
        "entrypoint": _words(service.entrypoint),
        "cap_add": list(service.cap_add),
        "cap_drop": list(service.cap_drop),
        "read_only": service.read_only,
        "user": str(service.user),
        "working_dir": service.working_dir,
        "mem_limit": size(service.mem_limit),
        "nano_cpus": round(float(service.cpus) * 1e9),
        "cpu_shares": service.cpu_shares,
        "pids_limit": service.pids_limit,
        "shm_size": size(service.shm_size),
        "stop_signal": service.stop_signal,
        "ulimits": [_ulimit(kind, ends) for kind, ends in service.ulimits.items()],
    }
    always: dict[str, object] = {
        "hostname": service.hostname or name,
        "init": service.init,
        "security_opt": list(dict.fromkeys(("no-new-privileges", *service.security_opt))),
        "restart_policy": _restart(service.restart),
        "healthcheck": {"test": ["NONE"]},
        "log_config": LogConfig(type="json-file", config={"max-size": "20m", "max-file": "2"}),
    }
    return Settings(
        command=_words(service.command),
        environment=pairs(service.environment),
        volumes=tuple(_volume(entry, folder, volume_prefix) for entry in service.volumes),
        tmpfs=tuple(_words(service.tmpfs) or ()),
        others={key: value for key, value in optional.items() if value} | always,
    )


def check(system: SystemFile) -> None:
    """Whether every service's settings make sense to the engine. Raises UsageError."""
    sample = dict.fromkeys((*system.variables, "LAB_RUN", "LAB_MODE", "LAB_DEFECTS"), "1")
    for name, service in system.filled_services(sample).items():
        try:
            create_settings(service, name, system.folder, "")
            declared(service)
            probe(service)
        except (ValueError, IndexError) as error:
            where = f"{system.folder / FILE_NAME}: services.{name}"
            raise UsageError(f"a value makes no sense: {error}", where=where) from error


def declared(service: Service) -> dict[str, str]:
    """The label that tells a later heal which limits the stack file declares."""
    return label_of(
        cores=float(service.cpus),
        memory_bytes=size(service.mem_limit),
        pids=service.pids_limit,
    )


def _ulimit(kind: str, ends: int | Limits) -> Ulimit:
    if isinstance(ends, int):
        return Ulimit(name=kind, soft=ends, hard=ends)
    return Ulimit(name=kind, soft=ends.soft, hard=ends.hard)


def _words(words: Words | None) -> list[str] | None:
    """A command as a list; a string is split as a shell would, as compose does."""
    if words is None:
        return None
    return shlex.split(words) if isinstance(words, str) else list(words)


def _restart(policy: str) -> dict[str, object]:
    name, _, most = policy.partition(":")
    return {"Name": name, "MaximumRetryCount": int(most or 0)}


def _volume(entry: str, folder: Path, prefix: str) -> tuple[str, str, str]:
    source, target, rights = (*entry.split(":"), "rw")[:3]
    bound = str((folder / source).resolve()) if source.startswith(".") else f"{prefix}{source}"
    return bound, target, rights
