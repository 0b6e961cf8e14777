"""The run's own containers: their life, their limits, and the agents in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """A tenant's agent: its pid inside the container of `service`, and its start time (ticks)."""

    service: str
    pid: int
    started: int


Resource = Literal["cores", "memory_bytes", "pids"]
"""What a service can be short of; the names are those of `Limits`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; 0 is no limit."""

    cores: float = 0.0
    memory_bytes: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service's container right now. `started`: when its process began, as the engine says it."""

    running: bool
    paused: bool
    started: str
    limits: Limits


class Containers(Protocol):
    """The run's own containers, by service name; nothing else can be reached through this."""

    async def agents(self) -> dict[str, AgentProcess]:
        """Tenant id -> its agent's process, for systems with the ability `agents`."""
        ...

    async def kill_process(self, process: AgentProcess, signal: int) -> None:
        """Signal exactly this process; one that is gone, or whose pid is reused, is left alone."""
        ...

    async def kill(self, service: str, signal: int) -> None:
        """Signal a service's main process, as `docker kill` does; returns once it has ended.

        One that ignores a signal other than SIGKILL runs on, and that is no error.
        """
        ...

    async def start(self, service: str) -> None:
        """Start a stopped service; a running one is fine."""
        ...

    async def stop(self, service: str) -> None:
        """Ask the service to end, and kill it when its grace is over; a stopped one is fine."""
        ...

    async def pause(self, service: str, paused: bool) -> None:
        """Freeze (True) or thaw all its processes; as they already are is fine."""
        ...

    async def limit(self, service: str, resource: Resource, amount: float) -> None:
        """Set a limit above 0. Raises LabError when it does not show up in the read-back."""
        ...

    async def unlimit(self, service: str, resource: Resource) -> None:
        """Put the limit back to what the container was created with, whoever changed it."""
        ...

    async def state(self, service: str) -> ServiceState:
        """How the service's container is right now."""
        ...
