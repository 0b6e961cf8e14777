"""Loop disks of a run's services, worked on by its keeper."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anyio import to_thread

from lab.engine.api import Engine
from lab.engine.keeper import on_disk
from lab.errors import LabError, UsageError
from lab.hands.disks import DiskState
from lab.system import Census


class LoopDisks:
    """The `Disks` of a running stack."""

    def __init__(
        self,
        engine: Engine,
        keeper: str,
        find: Callable[[], Mapping[str, str]],
        ids: Mapping[str, str],
    ) -> None:
        """find: service -> loop device, blocking; ids: service -> container."""
        self._engine, self._keeper, self._find, self._ids = engine, keeper, find, ids

    async def cut(self, service: str) -> None:
        """Shut the file system down without a flush (FS_IOC_SHUTDOWN, ext4's and xfs's own test).

        What the service had synced is on the disk; what the kernel still held for it is dropped, as
        it is when the power fails. A disk's own volatile cache is not modelled.
        """
        await self._do("cut", service)

    async def spoil(self, service: str) -> None:
        """Abort the journal (mount's `abort`), which turns the file system read-only."""
        await self._do("spoil", service)

    async def mend(self, service: str) -> None:
        """`e2fsck -fy`."""
        await self._do("mend", service)

    async def fill(self, service: str, left_mb: int) -> None:
        """One file beside the service's own takes the rest."""
        await self._do("fill", service, str(left_mb))

    async def empty(self, service: str) -> None:
        """Remove that file."""
        await self._do("empty", service)

    async def throttle(self, service: str, write_kbps: int) -> None:
        """Set it in the cgroup of the service's container, and read it back."""
        container = self._ids.get(service, "")
        await self._do("throttle", service, container, str(write_kbps * 1024))
        seen = (await self.state(service)).write_kbps
        if seen != write_kbps:
            raise LabError(f"write_kbps is {seen}, not {write_kbps}", where=f"disk of {service}")

    async def state(self, service: str) -> DiskState:
        """What the kernel's mount table says of the file system, and the container's cgroup."""
        said = (await self._do("state", service, self._ids.get(service, ""))).split()
        flags = set(said[0].split(","))
        bytes_per_second = next((int(word) for word in said if word.isdecimal()), 0)
        return DiskState(
            writable="rw" in flags and "emergency_ro" not in flags,
            filled="filled" in said,
            write_kbps=bytes_per_second // 1024,
        )

    async def residue(self) -> Census:
        """Disks that are not as new."""
        seen = {name: await self.state(name) for name in await to_thread.run_sync(self._find)}
        return {
            "disks": tuple(f"{n} {how}" for n, how in seen.items() if how != DiskState(True, False))
        }

    async def _do(self, work: str, service: str, *more: str) -> str:
        devices = await to_thread.run_sync(self._find)
        if service not in devices:
            known = ", ".join(devices) or "none: no `x-lab.disks`, or not fitted"
            raise UsageError(f"`{service}` has no disk of its own", mend=f"disks: {known}")
        words = (work, devices[service], *more)
        return await to_thread.run_sync(on_disk, self._engine, self._keeper, *words)
