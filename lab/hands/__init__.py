"""What a fault may touch: narrow handles on one run's own things, faked one by one in tests.

Here are the protocols and their values; `lab/hands/real` holds what does it on the engine, and
`lab/stack` builds a `Lab` of those for a stack that stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.hands.burdens import Burdens
from lab.hands.clients import Clients, Manner
from lab.hands.clocks import Clocks
from lab.hands.containers import AgentProcess, Containers, Limits, Resource, ServiceState
from lab.hands.disks import Disks, DiskState
from lab.hands.links import Links, Toxic
from lab.hands.network import Counts, Drop, Networks, Shape, Shaped
from lab.hands.postgres import Postgres
from lab.hands.quotas import NoQuotas, Quotas
from lab.hands.redis import Redis
from lab.hands.stubs import Stubs


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """All hands together. `tenants`: logical name -> id in the system, once they are made."""

    links: Links
    containers: Containers
    networks: Networks
    burdens: Burdens
    disks: Disks
    clocks: Clocks
    postgres: Postgres
    redis: Redis
    stubs: Stubs
    clients: Clients
    quotas: Quotas = field(default_factory=NoQuotas)
    tenants: Mapping[str, str] = field(default_factory=dict[str, str])


__all__ = [
    "AgentProcess",
    "Burdens",
    "Clients",
    "Clocks",
    "Containers",
    "Counts",
    "DiskState",
    "Disks",
    "Drop",
    "Lab",
    "Limits",
    "Links",
    "Manner",
    "Networks",
    "NoQuotas",
    "Postgres",
    "Quotas",
    "Redis",
    "Resource",
    "ServiceState",
    "Shape",
    "Shaped",
    "Stubs",
    "Toxic",
]
