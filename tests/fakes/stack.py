"""In-memory links and containers: what a fault may touch, without an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from signal import SIGKILL, SIGTERM

from lab.errors import LabError
from lab.hands import AgentProcess, Lab, Limits, Resource, ServiceState, Toxic
from tests.fakes.burdens import FakeBurdens
from tests.fakes.disks import FakeClocks, FakeDisks
from tests.fakes.network import FakeNetworks
from tests.fakes.stores import FakeClients, FakePostgres, FakeRedis, FakeStubs

DECLARED = Limits(cores=0.0, memory_bytes=128 * 2**20, pids=64)
"""What every fake service was created with: one limit that is not there, and two that are."""


def fresh_services() -> dict[str, ServiceState]:
    """Two services that run since the beginning."""
    state = ServiceState(running=True, paused=False, started="0", limits=DECLARED)
    return {"app": state, "redis": state}


@dataclass
class FakeLinks:
    """Links that remember their toxics, and can be broken as a whole."""

    names: tuple[str, ...] = ("redis", "postgres")
    toxics: dict[str, dict[str, Toxic]] = field(default_factory=dict[str, dict[str, Toxic]])
    closed: set[str] = field(default_factory=set[str])
    broken: bool = False

    def _known(self, link: str) -> dict[str, Toxic]:
        if self.broken:
            raise LabError("the control API does not answer", where=f"link {link}")
        if link not in self.names:
            raise LabError("no such link", where=link)
        return self.toxics.setdefault(link, {})

    async def add(self, link: str, toxic: Toxic) -> None:
        """As the real one: a toxic of the same name is replaced."""
        self._known(link)[toxic.name] = toxic

    async def remove(self, link: str, toxic_name: str) -> None:
        """As the real one: what is not there is fine."""
        self._known(link).pop(toxic_name, None)

    async def enable(self, link: str, enabled: bool) -> None:
        """As the real one."""
        self._known(link)
        self.closed.discard(link) if enabled else self.closed.add(link)

    @property
    def quiet(self) -> bool:
        """Whether nothing is injected anywhere."""
        return not any(self.toxics.values()) and not self.closed


@dataclass
class FakeContainers:
    """A process table of agents; a killed one is started again, as a sound platform does.

    And services, each a state that changes as the engine would change it.
    """

    table: dict[str, AgentProcess] = field(default_factory=dict[str, AgentProcess])
    signals: list[tuple[AgentProcess, int]] = field(default_factory=list[tuple[AgentProcess, int]])
    respawn: bool = True
    services: dict[str, ServiceState] = field(default_factory=fresh_services)

    async def agents(self) -> dict[str, AgentProcess]:
        """The table as it is."""
        return dict(self.table)

    async def kill_process(self, process: AgentProcess, signal: int) -> None:
        """Only the very process that is in the table."""
        for tenant, running in list(self.table.items()):
            if running == process:
                self.signals.append((process, signal))
                del self.table[tenant]
                if self.respawn:
                    self.table[tenant] = AgentProcess(
                        process.service, process.pid + 1, process.started + 1
                    )

    async def kill(self, service: str, signal: int) -> None:
        """These services end on SIGKILL and SIGTERM, and ignore the rest."""
        if signal in (SIGKILL, SIGTERM):
            await self.stop(service)

    async def start(self, service: str) -> None:
        """As the real one: a running one is fine."""
        was = await self.state(service)
        if not was.running:
            began = str(int(was.started) + 1)
            self.services[service] = replace(was, running=True, started=began)

    async def stop(self, service: str) -> None:
        """As the real one: a stopped one is fine."""
        was = await self.state(service)
        self.services[service] = replace(was, running=False, paused=False)

    async def pause(self, service: str, paused: bool) -> None:
        """As the real one: as it already is is fine, and what does not run cannot be frozen."""
        was = await self.state(service)
        if paused and not was.running:
            raise LabError("it does not run", where=service)
        self.services[service] = replace(was, paused=paused)

    async def limit(self, service: str, resource: Resource, amount: float) -> None:
        """As the real one."""
        was = await self.state(service)
        limits = replace(was.limits, **{resource: amount})
        self.services[service] = replace(was, limits=limits)

    async def unlimit(self, service: str, resource: Resource) -> None:
        """As the real one: back to what was declared, not to what was there last."""
        await self.limit(service, resource, getattr(DECLARED, resource))

    async def state(self, service: str) -> ServiceState:
        """As the real one."""
        if service not in self.services:
            raise LabError("no such service", where=service)
        return self.services[service]


def fake_lab(**tenants: str) -> tuple[Lab, FakeLinks, FakeContainers]:
    """A lab of fakes, with the fakes themselves for looking inside."""
    links, containers = FakeLinks(), FakeContainers()
    return lab_of(links, containers, tenants), links, containers


def lab_of(
    links: FakeLinks,
    containers: FakeContainers,
    tenants: Mapping[str, str] | None = None,
    networks: FakeNetworks | None = None,
) -> Lab:
    """All hands, fakes where none is given."""
    return Lab(
        links=links,
        containers=containers,
        networks=networks or FakeNetworks(),
        burdens=FakeBurdens(containers),
        disks=FakeDisks(),
        clocks=FakeClocks(),
        postgres=FakePostgres(),
        redis=FakeRedis(),
        stubs=FakeStubs(),
        clients=FakeClients(),
        tenants=tenants or {},
    )
