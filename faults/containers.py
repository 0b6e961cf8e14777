"""Faults on a service's container: it dies, stops, freezes, or is short of something.

What a heal puts back is what the container was created with, read from the container itself, so
that any process can heal, also one that knows nothing but the journal's line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from signal import Signals
from typing import ClassVar

from faults.checks import one_of, within
from faults.effects import either, slowed, starved
from faults.services import Failover
from faults.targets import OnService
from lab.fault import Effect, Window
from lab.hands import Lab, Resource

ENDING = ("SIGKILL", "SIGTERM", "SIGINT", "SIGQUIT", "SIGABRT", "SIGHUP")
"""Signals that ask a process to end. SIGSTOP is not among them: `pause` is, and can be undone."""


@dataclass(frozen=True, slots=True)
class _Ended(OnService):
    """A service that is gone until it is healed."""

    async def heal(self, lab: Lab) -> None:
        """Start it; one that runs is left alone."""
        await lab.containers.start(self.service)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when half of those that were answered before are not any more."""
        return starved(before, during)


@dataclass(frozen=True, slots=True)
class Kill(_Ended):
    """Signals the service's main process, SIGKILL unless told otherwise; the heal starts it again.

    signal: one that ends processes. A process may ignore any of them but SIGKILL; then nothing has
    happened, and the effect says so.
    """

    signal: str = "SIGKILL"
    kind: ClassVar[str] = "kill"

    def __post_init__(self) -> None:
        one_of(self.kind, "signal", self.signal, ENDING)

    async def inject(self, lab: Lab) -> None:
        """Send the signal and wait until the service is gone, or ignores it."""
        await lab.containers.kill(self.service, Signals[self.signal])


@dataclass(frozen=True, slots=True)
class Stop(_Ended):
    """Stops the service as an operator would: asked first, killed after its grace."""

    kind: ClassVar[str] = "stop"

    async def inject(self, lab: Lab) -> None:
        """Stop it, and see that it is."""
        await lab.containers.stop(self.service)


@dataclass(frozen=True, slots=True)
class Restart(_Ended):
    """Stops the service and starts it at once: a deployment, as its clients see it."""

    kind: ClassVar[str] = "restart"

    async def inject(self, lab: Lab) -> None:
        """Returns when its process runs again, which is before it is ready."""
        await self._failover.inject(lab)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """When its process began."""
        return await self._failover.observe(lab)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when its process is another one.

        Most of the outage is over when the injection returns, and so in no window.
        """
        return self._failover.effect(before, during)

    @property
    def _failover(self) -> Failover:
        """A restart is a failover that takes no time."""
        return Failover(self.service, away_ms=0)


@dataclass(frozen=True, slots=True)
class Pause(OnService):
    """Freezes every process of the service: connections stay open and nobody answers."""

    kind: ClassVar[str] = "pause"

    async def inject(self, lab: Lab) -> None:
        """Freeze it (the kernel's freezer, no signal that it could catch)."""
        await lab.containers.pause(self.service, paused=True)

    async def heal(self, lab: Lab) -> None:
        """Thaw it; one that is not frozen is left alone."""
        await lab.containers.pause(self.service, paused=False)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when half of those that were answered before are not any more."""
        return starved(before, during)


@dataclass(frozen=True, slots=True)
class _Short(OnService):
    """A service that is short of something until it is healed."""

    resource: ClassVar[Resource]

    @property
    def amount(self) -> float:
        """The limit, in the unit of the resource."""
        raise NotImplementedError

    async def inject(self, lab: Lab) -> None:
        """Set the limit while the service runs, and read it back."""
        await lab.containers.limit(self.service, self.resource, self.amount)

    async def heal(self, lab: Lab) -> None:
        """Put back what the stack file declares."""
        await lab.containers.unlimit(self.service, self.resource)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations took twice as long, or half of them were not answered.

        A limit that nobody reached shows nowhere: it did not bite, and that is what is said.
        """
        return either(slowed(before, during), starved(before, during))


@dataclass(frozen=True, slots=True)
class CpuQuota(_Short):
    """Leaves the service `cores` CPU cores' worth of time; it may be a fraction, as in 0.1."""

    cores: float
    kind: ClassVar[str] = "cpu_quota"
    resource: ClassVar[Resource] = "cores"

    def __post_init__(self) -> None:
        within(self.kind, "cores", self.cores, 0.01, 1024.0)

    @property
    def amount(self) -> float:
        """Cores."""
        return self.cores


@dataclass(frozen=True, slots=True)
class MemoryLimit(_Short):
    """Limits the service's memory to `limit_mb` MiB, swap included; beyond it the kernel kills.

    Less than is in use already is refused where the kernel refuses it (cgroup v1), and nothing is
    injected then. The engine takes no less than 6.
    """

    limit_mb: int
    kind: ClassVar[str] = "memory_limit"
    resource: ClassVar[Resource] = "memory_bytes"

    def __post_init__(self) -> None:
        within(self.kind, "limit_mb", self.limit_mb, 6, 1_048_576)

    @property
    def amount(self) -> float:
        """Bytes."""
        return self.limit_mb * 2**20


@dataclass(frozen=True, slots=True)
class PidsLimit(_Short):
    """Limits the service's processes and threads to `pids`; those that are there may stay."""

    pids: int
    kind: ClassVar[str] = "pids_limit"
    resource: ClassVar[Resource] = "pids"

    def __post_init__(self) -> None:
        within(self.kind, "pids", self.pids, 1, 4_194_304)

    @property
    def amount(self) -> float:
        """Processes."""
        return self.pids
