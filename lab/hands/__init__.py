"""What a fault may touch: narrow handles on one run's own things, faked one by one in tests.

Here are the protocols and their values; `lab/hands/real` holds what does it on the engine, and
`lab/stack` builds a `Lab` of those for a stack that stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.hands.containers import AgentProcess, Containers, Limits, Resource, ServiceState
from lab.hands.links import Links, Toxic


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """All hands together. `tenants`: logical name -> id in the system, once they are made."""

    links: Links
    containers: Containers
    tenants: Mapping[str, str] = field(default_factory=dict[str, str])


__all__ = [
    "AgentProcess",
    "Containers",
    "Lab",
    "Limits",
    "Links",
    "Resource",
    "ServiceState",
    "Toxic",
]
