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


async def limit(patch: Patch, tenant: str, kind: str, amount: float | None) -> None:
    """Change one limit; None is what everybody has. The rates that a tenant may save up go along.

    Raises UsageError for a kind that the platform does not have.
    """
    if kind not in KINDS:
        raise UsageError(f"no quota {kind!r}", mend=f"there are {', '.join(KINDS)}")
    name = KINDS[kind]
    whole = name in ("burst",) or name.endswith(("_second", "_minute"))
    value = amount if amount is None or whole else max(1, round(amount))
    await patch(tenant, {name: value})


def meters(counters: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """tenant -> what it took and holds, from the backend's own counters."""
    sockets, held = counters["sockets"], counters["gate"].get("held", {})
    agents = counters["agents"].get("agents", {})
    return {
        tenant: {
            "accepted": tally["accepted"],
            "in_flight": tally["in_flight"],
            "refused": sum(tally["refused"].values()),
            **{f"refused_{kind}": float(n) for kind, n in tally["refused"].items()},
            **{GROWING.get(kind, kind): amount for kind, amount in tally["used"].items()},
            "sockets": float(sockets.get(tenant, 0)),
            "held": float(held.get(tenant, 0)),
            "memory_mb": float(agents.get(tenant, {}).get("memory_mb", 0.0)),
        }
        for tenant, tally in counters["tenants"].items()
    }
