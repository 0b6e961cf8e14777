"""In-memory links and containers: what a fault may touch, without an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.errors import LabError
from lab.fault import AgentProcess, Lab, Toxic


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
    """A process table of agents; a killed one is started again, as a sound platform does."""

    table: dict[str, AgentProcess] = field(default_factory=dict[str, AgentProcess])
    signals: list[tuple[AgentProcess, int]] = field(default_factory=list[tuple[AgentProcess, int]])
    respawn: bool = True

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
        """No service runs here."""
        raise LabError("no such service", where=service)

    async def start(self, service: str) -> None:
        """No service runs here."""
        raise LabError("no such service", where=service)


def fake_lab(**tenants: str) -> tuple[Lab, FakeLinks, FakeContainers]:
    """A lab of fakes, with the fakes themselves for looking inside."""
    links, containers = FakeLinks(), FakeContainers()
    return Lab(links, containers, tenants), links, containers
