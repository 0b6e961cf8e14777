"""Faults that take from a service what it has: cores, memory, the speed of its disk.

The strain runs inside the service's own container, so its limits bound it and nobody else pays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from faults.checks import within
from faults.effects import either, slowed, starved
from faults.targets import OnService
from lab.errors import UsageError
from lab.fault import Effect, Window
from lab.hands import Lab

SPIN = "while :; do :; done"
HOLD = 'x=$(head -c "$1" /dev/zero | tr "\\0" x); kill -STOP $$'
GROW = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"


@dataclass(frozen=True, slots=True)
class _OnService(OnService):
    """A strain on one service; `service` is its name in the stack file."""

    @property
    def mark(self) -> str:
        """What the strain's processes carry in their command line: this fault's, and no other's."""
        return f"crosstalk-{hashlib.sha256(repr(self).encode()).hexdigest()[:12]}"

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations took twice as long, or half of them were not answered."""
        return either(slowed(before, during), starved(before, during))


async def _limited(fault: _OnService, lab: Lab) -> None:
    """Refuse a service that would take the host's memory, and not its own."""
    if not (await lab.containers.state(fault.service)).limits.memory_bytes:
        raise UsageError("has no memory limit", where=fault.target, mend="set `mem_limit`")


@dataclass(frozen=True, slots=True)
class CpuStress(_OnService):
    """Burns CPU beside the service, with `processes` busy loops (1 to 64).

    What the service loses depends on its `cpus` limit; without one, on the host's cores.
    """

    processes: int = 1
    kind: ClassVar[str] = "cpu_stress"

    def __post_init__(self) -> None:
        within(self.kind, "processes", self.processes, 1, 64)

    async def inject(self, lab: Lab) -> None:
        """Start the loops, and see each of them run."""
        for number in range(self.processes):
            await lab.burdens.put(self.service, f"{self.mark}-{number}", SPIN)

    async def heal(self, lab: Lab) -> None:
        """End every loop of this fault."""
        marks = (f"{self.mark}-{number}" for number in range(self.processes))
        await lab.burdens.lift(self.service, *marks)


@dataclass(frozen=True, slots=True)
class MemoryHog(_OnService):
    """Holds `size_mb` MiB of memory beside the service (1 to 65,536), within its own limit.

    Beyond the limit the kernel kills one of the two; a service without one is refused, for the host
    would pay. Takes a tenth of a second per 100 MiB.
    """

    size_mb: int
    kind: ClassVar[str] = "memory_hog"

    def __post_init__(self) -> None:
        within(self.kind, "size_mb", self.size_mb, 1, 65_536)

    async def inject(self, lab: Lab) -> None:
        """One process fills a variable with that much, and stops itself."""
        await _limited(self, lab)
        await lab.burdens.put(
            self.service, self.mark, HOLD, str(self.size_mb * 2**20), stopped=True
        )

    async def heal(self, lab: Lab) -> None:
        """End it; a service that died of it is started."""
        await lab.burdens.lift(self.service, self.mark)
        await lab.containers.start(self.service)


@dataclass(frozen=True, slots=True)
class OomKill(_OnService):
    """Lets the kernel kill the service's main process for want of memory; the heal starts it.

    Only for a service with a memory limit (`mem_limit`, or a `memory_limit` fault): without one the
    host itself would run out, and the fault is refused.
    """

    kind: ClassVar[str] = "oom_kill"

    async def inject(self, lab: Lab) -> None:
        """Use up what is left, with the main process marked as the first to go."""
        await _limited(self, lab)
        await lab.burdens.exhaust(self.service, self.mark, GROW)

    async def heal(self, lab: Lab) -> None:
        """End what grows, and start the service where it is gone."""
        await lab.burdens.lift(self.service, self.mark)
        await lab.burdens.spare(self.service)
        await lab.containers.start(self.service)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when half of those that were answered before are not any more."""
        return starved(before, during)


@dataclass(frozen=True, slots=True)
class IoThrottle(_OnService):
    """Lets the service write at most `write_kbps` KiB a second to its disk (1 to 1,000,000).

    The kernel throttles what the service syncs itself (blkio on cgroup v1, io.max on v2); pages
    that the kernel writes later are throttled on v2 alone. The disk is one of `x-lab.disks`.
    """

    write_kbps: int
    kind: ClassVar[str] = "io_throttle"
    needs: ClassVar[frozenset[str]] = frozenset({"disks"})

    def __post_init__(self) -> None:
        within(self.kind, "write_kbps", self.write_kbps, 1, 1_000_000)

    @property
    def target(self) -> str:
        """Whose disk is slow."""
        return f"disk of {self.service}"

    async def inject(self, lab: Lab) -> None:
        """Set the limit in the container's cgroup, and read it back."""
        await lab.disks.throttle(self.service, self.write_kbps)

    async def heal(self, lab: Lab) -> None:
        """No limit; there is none anyway once the container has been started anew."""
        await lab.disks.throttle(self.service, 0)
