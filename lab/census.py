"""The censuses of a run: before its tenants, while they are there, and once they have gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import current_time as loop_time
from anyio import fail_after, sleep

from lab.errors import LabError
from lab.hands import AgentProcess, Containers
from lab.system import Census, Driver, Tenant

RETIRE_SECONDS = 30.0
CENSUS_SECONDS = 10.0
SETTLE_SECONDS = 5.0
"""What a tenant leaves has to be given back within this time after its last connection closed."""

Record = Callable[[str, Census], None]
"""Takes a census under its name, as in `census before`."""


@dataclass(frozen=True, slots=True)
class Censuses:
    """Takes a system's censuses: the driver's own, and the agents the process table shows.

    containers: None where the system has no agents of that kind. record: into the journal; note:
    tells what could not be done, and why.
    """

    driver: Driver
    where: Path
    containers: Containers | None
    record: Record
    note: Callable[[str, str], None]

    async def before(self) -> Census:
        """The first one. Raises LabError."""
        taken = await self._take()
        self.record("census before", taken)
        return taken

    async def during(self) -> None:
        """One while the tenants are there, to show that a census sees them at all."""
        try:
            self.record("census during", await self._take())
        except LabError as error:
            self.note("no census could be taken", str(error))

    async def after(self, before: Census, tenants: Sequence[Tenant]) -> None:
        """Retire the tenants and take the last census once nothing changes any more.

        Agents are read before the tenants are retired: they have to end because their tenant left,
        not because it was deleted.
        """
        agents = await self._settled_agents(before["agents"])
        try:
            with fail_after(RETIRE_SECONDS):
                await self.driver.retire(tenants)
            until = loop_time() + SETTLE_SECONDS
            while (after := {**await self._take(), "agents": agents}) != before:
                if loop_time() >= until:
                    break
                await sleep(0.1)
        except (LabError, OSError, RuntimeError, ValueError) as error:
            # A system too broken to remove a tenant is a finding, not a failure of the lab: without
            # the last census, clean-up is UNKNOWN, and the stack is not used again.
            self.note("the tenants could not be retired", str(error))
            return
        self.record("census after", after)

    async def _take(self) -> Census:
        agents = tuple(sorted(await self._agents()))
        try:
            with fail_after(CENSUS_SECONDS):
                return {**await self.driver.census(), "agents": agents}
        except (OSError, RuntimeError, ValueError) as error:
            raise LabError(f"no census: {error}", where=str(self.where)) from error

    async def _settled_agents(self, before: tuple[str, ...]) -> tuple[str, ...]:
        """The agents once they are as they were before, or after the time for it is over."""
        until = loop_time() + SETTLE_SECONDS
        while True:
            agents = tuple(sorted(await self._agents()))
            if agents == before or loop_time() >= until:
                return agents
            await sleep(0.1)

    async def _agents(self) -> dict[str, AgentProcess]:
        return {} if self.containers is None else await self.containers.agents()
