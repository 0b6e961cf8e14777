"""What the platform counts of each tenant, and how one is held to a limit: by the admin port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from lab.errors import UsageError

KINDS = {
    "requests": "requests_per_second",
    "burst": "burst",
    "sockets": "sockets",
    "in_flight": "in_flight",
    "connections": "connections",
    "queue": "queue",
    "parallel": "parallel",
    "cpu": "cpu_ms_per_second",
    "database": "database_ms_per_second",
    "disk": "disk_kb_per_second",
    "network": "network_kb_per_second",
    "tokens": "tokens_per_minute",
    "memory": "memory_mb",
    "processes": "pids",
}
"""The lab's word -> the platform's."""

GROWING = {"cpu": "cpu_ms", "database": "database_ms", "disk": "disk_kb", "network": "network_kb"}
Patch = Callable[[str, Mapping[str, float | None]], Awaitable[Mapping[str, float]]]


async def limits(patch: Patch, tenant: str) -> dict[str, float]:
    """What the tenant is held to; an empty change tells it."""
    told = await patch(tenant, {})
    return {kind: told[name] for kind, name in KINDS.items()}


async def limit(patch: Patch, tenant: str, kind: str, amount: float | None) -> float:
    """Change one limit; None is what everybody has. Raises UsageError for an unknown kind.

    A second's worth of requests may come at once: with the old burst a new rate would bite late.
    """
    if kind not in KINDS:
        raise UsageError(f"no quota {kind!r}", mend=f"there are {', '.join(KINDS)}")
    name = KINDS[kind]
    rate = name == "burst" or name.endswith(("_second", "_minute"))
    value = amount if amount is None or rate else max(1, round(amount))
    change = {name: value}
    if kind == "requests":
        change["burst"] = value and max(1.0, value)
    return (await patch(tenant, change))[name]


def meters(counters: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    """tenant -> what it took and holds, from the backend's own counters."""
    sockets, knocks, held = counters["sockets"], counters["knocks"], counters["held"]
    agents = counters["agents"].get("agents", {})
    return {
        tenant: {
            "accepted": float(tally["accepted"]),
            "in_flight": float(tally["in_flight"]),
            "refused": float(sum(tally["refused"].values())),
            **{f"refused_{kind}": float(n) for kind, n in tally["refused"].items()},
            **{
                GROWING.get(str(kind), str(kind)): float(amount)
                for kind, amount in tally["used"].items()
            },
            "sockets": float(sockets.get(tenant, 0)),
            "knocks": float(knocks.get(tenant, 0)),
            "held": float(held.get(tenant, 0)),
            **_agent(agents.get(tenant, {})),
        }
        for tenant, tally in counters["tenants"].items()
    }


def _agent(facts: Mapping[str, float]) -> dict[str, float]:
    """What the kernel says of the tenant's agent, where it is a process of the backend's."""
    names = {"memory_mb": "memory_mb", "cpu_ms": "agent_cpu_ms"}
    return {names[name]: float(facts[name]) for name in names if name in facts}
