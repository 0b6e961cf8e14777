"""Faults on the disk that a store writes to; the stack is fitted with disks that can be broken.

SIGKILL alone cannot show a missing fsync: the kernel still writes what a dead process left it.
"""

from __future__ import annotations

from dataclasses import dataclass
from signal import SIGKILL
from typing import ClassVar

from faults.checks import within
from faults.effects import either, slowed, starved
from lab.fault import Effect, Window
from lab.hands import Lab


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """A fault on the disk of `service`, which is one of the stack file's `x-lab.disks`."""

    service: str
    needs: ClassVar[frozenset[str]] = frozenset({"disks"})

    @property
    def target(self) -> str:
        """Whose disk is hit."""
        return f"disk of {self.service}"


@dataclass(frozen=True, slots=True)
class PowerCut(_OnDisk):
    """The power of one service fails: what it had not synced is lost, and it is gone until healed.

    It is frozen first, so that it answers nobody between the cut and its death: an answer after the
    cut would be one that no machine without power can give. The heal starts it on what its disk
    holds. Synced data survive; a disk's own volatile cache is not modelled.
    """

    kind: ClassVar[str] = "power_cut"

    async def inject(self, lab: Lab) -> None:
        """Freeze, cut, kill."""
        await lab.containers.pause(self.service, paused=True)
        await lab.disks.cut(self.service)
        await lab.containers.kill(self.service, SIGKILL)

    async def heal(self, lab: Lab) -> None:
        """Start it anew; one that is still frozen is killed first, since its disk may be gone."""
        if (await lab.containers.state(self.service)).paused:
            await lab.containers.kill(self.service, SIGKILL)
        await lab.containers.start(self.service)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when half of those that were answered before are not any more."""
        return starved(before, during)


@dataclass(frozen=True, slots=True)
class Fill(_OnDisk):
    """Fills the disk up until `left_mb` MiB are free (0 to 1,000): writes then fail for want of it.

    Reading goes on. The heal removes the one file that took the room.
    """

    left_mb: int = 0
    kind: ClassVar[str] = "fill"

    def __post_init__(self) -> None:
        within(self.kind, "left_mb", self.left_mb, 0, 1000)

    async def inject(self, lab: Lab) -> None:
        """One file takes the rest of the disk."""
        await lab.disks.fill(self.service, self.left_mb)

    async def heal(self, lab: Lab) -> None:
        """Remove the file; a service that died for want of room is started."""
        await lab.disks.empty(self.service)
        await lab.containers.start(self.service)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a twentieth of the operations was lost: only writes need room."""
        return starved(before, during, to=0.95)


@dataclass(frozen=True, slots=True)
class ReadOnly(_OnDisk):
    """The disk turns read-only under the running service, as after an error of the hardware.

    No write gets through, those of open files included. The heal stops the service, repairs the
    file system and starts it: there is no way back without a restart on a real machine, either.
    """

    kind: ClassVar[str] = "read_only"

    async def inject(self, lab: Lab) -> None:
        """Abort the journal of the file system."""
        await lab.disks.spoil(self.service)

    async def heal(self, lab: Lab) -> None:
        """Repair what was spoiled; a disk that takes writes is left alone."""
        if not (await lab.disks.state(self.service)).writable:
            await lab.containers.kill(self.service, SIGKILL)
            await lab.disks.mend(self.service)
        await lab.containers.start(self.service)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations were lost (a twentieth), or took twice as long."""
        return either(starved(before, during, to=0.95), slowed(before, during))
