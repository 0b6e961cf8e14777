"""What each tenant may take, as the system itself admits it, and what it took so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lab.errors import UsageError


class Quotas(Protocol):
    """The system's own limits, one tenant and one kind at a time; tenants by logical name.

    The kinds are the system's: `requests` a second and `sockets` are usual ones. See
    `lab.system.Governed`.
    """

    async def limits(self, tenant: str) -> Mapping[str, float]:
        """What the tenant is held to now, by kind. Raises UsageError where nobody has limits."""
        ...

    async def limit(self, tenant: str, kind: str, amount: float) -> float:
        """Hold the tenant to `amount` of `kind` from now on. Raises UsageError as `limits`.

        Returns what it is held to then: a system may round.
        """
        ...

    async def unlimit(self, tenant: str, kind: str) -> None:
        """Give the tenant back what it has when nobody says anything; as it already is is fine."""
        ...

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """What everybody took so far, and holds now; nothing where the system does not count."""
        ...


class NoQuotas:
    """Nobody has tenants here, or the system's driver knows no limits."""

    async def limits(self, tenant: str) -> Mapping[str, float]:
        """Refused."""
        raise _lacking(tenant)

    async def limit(self, tenant: str, kind: str, amount: float) -> float:
        """Refused."""
        raise _lacking(tenant)

    async def unlimit(self, tenant: str, kind: str) -> None:
        """Refused."""
        raise _lacking(tenant)

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing."""
        return {}


def _lacking(tenant: str) -> UsageError:
    what = "needs a driver that can limit a tenant"
    return UsageError(what, where=f"quotas of {tenant}", mend="docs/your-system.md: `Governed`")
