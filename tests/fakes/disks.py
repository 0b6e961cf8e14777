"""In-memory disks and clocks, for services that are there and run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lab.errors import UsageError
from lab.hands import DiskState

FRESH = DiskState(writable=True, filled=False)


@dataclass
class FakeDisks:
    """Disks that remember what was done to them; a cut one comes back with its service."""

    disks: dict[str, DiskState] = field(default_factory=lambda: {"redis": FRESH})
    cuts: list[str] = field(default_factory=list[str])

    def _known(self, service: str) -> DiskState:
        if service not in self.disks:
            raise UsageError(f"`{service}` has no disk of its own")
        return self.disks[service]

    async def cut(self, service: str) -> None:
        """As the real one; the service's next start mounts it anew."""
        self._known(service)
        self.cuts.append(service)

    async def spoil(self, service: str) -> None:
        """As the real one."""
        self.disks[service] = replace(self._known(service), writable=False)

    async def mend(self, service: str) -> None:
        """As the real one."""
        self.disks[service] = replace(self._known(service), writable=True)

    async def fill(self, service: str, left_mb: int) -> None:
        """As the real one."""
        self.disks[service] = replace(self._known(service), filled=True)

    async def empty(self, service: str) -> None:
        """As the real one."""
        self.disks[service] = replace(self._known(service), filled=False)

    async def throttle(self, service: str, write_kbps: int) -> None:
        """As the real one."""
        self.disks[service] = replace(self._known(service), write_kbps=write_kbps)

    async def state(self, service: str) -> DiskState:
        """As the real one."""
        return self._known(service)


@dataclass
class FakeClocks:
    """Clocks as a table of offsets."""

    offsets: dict[str, float] = field(default_factory=lambda: {"app": 0.0})

    async def skew(self, service: str, offset_seconds: float) -> None:
        """As the real one."""
        await self.offset_seconds(service)
        self.offsets[service] = offset_seconds

    async def heeded(self, service: str) -> bool:
        """As the real one."""
        return service in self.offsets

    async def offset_seconds(self, service: str) -> float:
        """As the real one."""
        if service not in self.offsets:
            raise UsageError(f"`{service}` has no clock of its own")
        return self.offsets[service]
