"""Limits by logical name, through a driver that has them; one that has none says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import anyio
import pytest

from lab.errors import UsageError
from lab.hands.quotas import NoQuotas
from lab.hands.real.quotas import DriverQuotas, sell
from lab.system import Driver, Tenant
from lab.workload import Cohort
from tests.fakes.quotas import EVERYBODYS, FakeQuotas

NOISY = Tenant("noisy-0", "t3-noisy-0", "noisy")


class Governing:
    """The part of a driver that is about limits, by the tenants' ids."""

    def __init__(self) -> None:
        self.quotas = FakeQuotas(told={NOISY.id: {"cpu_ms": 3.0}, "t2-other": {"cpu_ms": 9.0}})

    async def limits(self, tenant: Tenant) -> Mapping[str, float]:
        """As the system knows it."""
        return await self.quotas.limits(tenant.id)

    async def limit(self, tenant: Tenant, kind: str, amount: float) -> float:
        """As the system knows it."""
        return await self.quotas.limit(tenant.id, kind, amount)

    async def unlimit(self, tenant: Tenant, kind: str) -> None:
        """As the system knows it."""
        await self.quotas.unlimit(tenant.id, kind)

    async def metered(self) -> Mapping[str, Mapping[str, float]]:
        """Other stories' tenants too."""
        return await self.quotas.metered()


def test_a_cohort_is_sold_its_quotas_and_everybody_is_known_by_the_name_of_the_story() -> None:
    async def story() -> None:
        driver = Governing()
        quotas = DriverQuotas(cast("Driver", driver), [NOISY])
        await sell((Cohort("quiet", 3), Cohort("noisy", 1, {"cpu": 900.0})), quotas)
        assert driver.quotas.own == {(NOISY.id, "cpu"): 900.0}
        assert (await quotas.limits("noisy-0"))["cpu"] == 900.0
        await quotas.unlimit("noisy-0", "cpu")
        assert (await quotas.limits("noisy-0")) == EVERYBODYS
        assert await quotas.metered() == {"noisy-0": {"cpu_ms": 3.0}}

    anyio.run(story)


@pytest.mark.parametrize("quotas", [NoQuotas(), DriverQuotas(cast("Driver", object()), [NOISY])])
def test_a_driver_without_limits_is_named_in_one_line(quotas: NoQuotas) -> None:
    async def story() -> None:
        assert await quotas.metered() == {}
        with pytest.raises(UsageError, match="a driver that can limit a tenant"):
            await sell((Cohort("noisy", 1, {"cpu": 900.0}),), quotas)
        for refusing in (quotas.limits("noisy-0"), quotas.unlimit("noisy-0", "cpu")):
            with pytest.raises(UsageError, match="Governed"):
                await refusing

    anyio.run(story)
