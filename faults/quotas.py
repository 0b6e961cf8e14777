"""An operator's slip: one tenant may suddenly take more, or less, than everybody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from faults.checks import within
from lab.fault import Effect, Window
from lab.hands import Lab

AMOUNT_MAX = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Quota:
    """The tenant is held to `amount` of `resource` (`requests`, `cpu`...) by the system itself.

    resource: a kind that the system's driver knows; amount: in that kind's unit.
    """

    tenant: str
    resource: str
    amount: float
    kind: ClassVar[str] = "quota"

    def __post_init__(self) -> None:
        within(self.kind, "amount", self.amount, 0.001, AMOUNT_MAX)

    @property
    def target(self) -> str:
        """Whose quota."""
        return f"quota of {self.tenant}"

    async def inject(self, lab: Lab) -> None:
        """Through the system's own door for operators."""
        await lab.quotas.limit(self.tenant, self.resource, self.amount)

    async def heal(self, lab: Lab) -> None:
        """Back to what everybody has."""
        await lab.quotas.unlimit(self.tenant, self.resource)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """The limit itself, and what the system counts of everybody: `TENANT.refused_cpu`..."""
        limits = await lab.quotas.limits(self.tenant)
        meters = await lab.quotas.metered()
        counted = {f"{t}.{name}": n for t, each in meters.items() for name, n in each.items()}
        return {f"limit.{self.resource}": limits.get(self.resource, 0.0), **counted}

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when the system says that it holds the tenant to another limit."""
        change = during.counters.get(f"limit.{self.resource}", 0.0)
        how = f"{self.resource} changed by {change:g}" if change else "the limit is as it was"
        return Effect(change != 0, how, dict(during.counters))
