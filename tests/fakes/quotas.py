"""A system that holds its tenants to limits in name only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EVERYBODYS: Mapping[str, float] = {
    "requests": 40.0, "database": 30.0, "cpu": 50.0, "sockets": 32.0, "memory": 256.0,
    "in_flight": 32.0, "connections": 4.0, "parallel": 1.0,
}  # fmt: skip


@dataclass
class FakeQuotas:
    """Remembers limits; `own`: (tenant, kind) -> amount; `told`: what the meters say."""

    own: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    told: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    async def limits(self, tenant: str) -> Mapping[str, float]:
        """As the real one."""
        return {kind: self.own.get((tenant, kind), usual) for kind, usual in EVERYBODYS.items()}

    async def limit(self, tenant: str, kind: str, amount: float) -> float:
        """As the real one."""
        self.own[tenant, kind] = amount
        return amount

    async def unlimit(self, tenant: str, kind: str) -> None:
        """As the real one."""
        self.own.pop((tenant, kind), None)

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """What the test wants it to tell."""
        return {tenant: dict(each) for tenant, each in self.told.items()}
