"""Every fault in the catalogue keeps the contract, on fakes; and the suite itself can fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import anyio
import pytest

from faults.network import Latency
from lab import catalog
from lab.errors import LabError
from lab.fault import Effect, Window
from lab.hands import AgentProcess, Lab
from tests.conformance import Look, Subject, check_fault
from tests.fakes.burdens import FakeBurdens
from tests.fakes.disks import FakeClocks, FakeDisks
from tests.fakes.network import FakeNetworks
from tests.fakes.quotas import FakeQuotas
from tests.fakes.stack import FakeContainers, FakeLinks, lab_of
from tests.fakes.stores import FakeClients, FakePostgres, FakeRedis, FakeStubs
from tests.faults.examples import EXAMPLES, INSIDE, TENANTS, Make, told

ALL = (*EXAMPLES, *INSIDE, *TENANTS)


@asynccontextmanager
async def fakes() -> AsyncGenerator[Subject]:
    """A fresh lab of fakes with one tenant's agent."""
    links = FakeLinks()
    containers = FakeContainers(table={"t-0": AgentProcess("app", 7, 100)})
    disks, clocks, burdens = FakeDisks(), FakeClocks(), FakeBurdens(containers)
    lab = replace(
        lab_of(links, containers, {"target-0": "t-0"}, networks := FakeNetworks()),
        disks=disks,
        clocks=clocks,
        burdens=burdens,
    )

    postgres, redis, stubs, clients = FakePostgres(), FakeRedis(), FakeStubs(), FakeClients()
    quotas = FakeQuotas()
    lab = replace(lab, postgres=postgres, redis=redis, stubs=stubs, clients=clients, quotas=quotas)

    async def look() -> Look:
        state: dict[str, object] = {
            f"link {link}": (link in links.closed, dict(links.toxics.get(link, {})))
            for link in links.names
        }
        state |= {"disks": dict(disks.disks), "clocks": dict(clocks.offsets)}
        state |= {"burdens": burdens.there(), "networks": networks.state}
        state |= {"postgres": dict(postgres.held), "redis": dict(redis.held)}
        state |= {"stubs": dict(stubs.failing), "clients": dict(clients.going)}
        state |= {"quotas": dict(quotas.own)}
        births: dict[str, object] = {"calls": len(redis.calls), "revoked": len(clients.revoked)}
        for name, now in containers.services.items():
            state[f"service {name}"] = (now.running, now.paused, now.limits)
            births[f"service {name}"] = now.started
        agents = await containers.agents()
        return Look(state | {"agents": set(agents)}, births | {"agents": agents})

    yield Subject(lab, look)


@pytest.mark.parametrize("make", ALL, ids=told)
def test_every_fault_keeps_the_contract(make: Make) -> None:
    anyio.run(check_fault, make, fakes)


def test_every_fault_has_an_example() -> None:
    missing = set(catalog.faults()) - {make().kind for make in ALL}
    assert not missing, f"no example in tests/faults/examples.py for {sorted(missing)}"


@dataclass(frozen=True)
class Sloppy:
    """A latency that can be told to break the contract in one way."""

    flaw: str
    kind: ClassVar[str] = "latency"

    @property
    def target(self) -> str:
        """What is hit."""
        return "link redis"

    async def inject(self, lab: Lab) -> None:
        """Nothing at all, or a delay."""
        if self.flaw != "does nothing":
            await Latency("redis", 50).inject(lab)

    async def heal(self, lab: Lab) -> None:
        """Nothing, or too much."""
        if self.flaw == "insists on its injection" and not getattr(lab.links, "toxics", None):
            raise LabError("there is nothing to heal")
        if self.flaw == "restarts a bystander":
            await lab.containers.stop("app")
            await lab.containers.start("app")
        if self.flaw != "never heals":
            await Latency("redis", 50).heal(lab)

    def effect(self, before: Window, during: Window) -> Effect:
        """Not asked here."""
        return Effect(False, "", {})


@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [
        ("does nothing", "nothing reads differently"),
        ("never heals", "something is left"),
        ("insists on its injection", "nothing to heal"),
        ("restarts a bystander", "changed something"),
        ("its kind is another's", "unexpected keyword"),
    ],
)
def test_the_suite_sees_a_fault_that_breaks_the_contract(flaw: str, complaint: str) -> None:
    with pytest.raises((AssertionError, LabError, TypeError), match=complaint):
        anyio.run(check_fault, lambda: Sloppy(flaw), fakes)
