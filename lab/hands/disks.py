"""The disks that the run's stores write to, where the stack was fitted with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DiskState:
    """What the kernel says of a disk: whether it takes writes, is filled up, or is throttled.

    write_kbps: KiB a second that its service may write; 0 is no limit.
    """

    writable: bool
    filled: bool
    write_kbps: int = 0


class Disks(Protocol):
    """Disks by the service that has one (`x-lab.disks`)."""

    async def cut(self, service: str) -> None:
        """Nothing reaches the disk from now on, and what has not reached it never will.

        The service must be started anew to get its disk back.
        """
        ...

    async def spoil(self, service: str) -> None:
        """The file system turns read-only, as a kernel makes it after an error on the disk."""
        ...

    async def mend(self, service: str) -> None:
        """Check and repair the file system; the service must not run."""
        ...

    async def fill(self, service: str, left_mb: int) -> None:
        """Leave at most `left_mb` MiB free; as full as that already is fine."""
        ...

    async def empty(self, service: str) -> None:
        """Take away what `fill` put there; nothing there is fine."""
        ...

    async def throttle(self, service: str, write_kbps: int) -> None:
        """Let the service write at most this many KiB a second to its disk; 0 is no limit."""
        ...

    async def state(self, service: str) -> DiskState:
        """How the disk is right now."""
        ...
