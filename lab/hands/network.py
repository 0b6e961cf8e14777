"""The network namespaces of a run's services: packets dropped there, slowed, or cut off whole.

Unlike a link's toxics these act on packets, in the kernel of the service itself: connections stay
as they are, and whoever waits finds out only by waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Direction = Literal["both", "to", "from"]
"""As the service sees it: packets that come `to` it, or go out `from` it."""

Packets = Literal["all", "standing", "names"]
"""Which ones: all but loopback's, those of TCP connections that stand by now, or name queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Packets of `service` that are dropped; `name` tells it from other drops in the same place.

    link: only what belongs to this link, of which the service is one end; empty for everything.
    percent: how many, drawn for each packet; refused: names are refused instead of not answered.
    """

    name: str
    service: str
    link: str = ""
    direction: Direction = "both"
    packets: Packets = "all"
    percent: float = 100.0
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets that a drop has met so far, and how many of them it dropped."""

    met: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How what a service sends leaves it: at `rate_kbps` at most, or `delay_ms` later.

    A rate is in kilobytes (1000 bytes) a second, and 0 where packets are delayed; each packet's
    delay is `delay_ms` +- `jitter_ms`, which may reorder them. `name` as for a drop.
    """

    name: str
    service: str
    rate_kbps: int = 0
    delay_ms: int = 0
    jitter_ms: int = 0


@dataclass(frozen=True, slots=True)
class Shaped:
    """What went through a shape so far: bytes, and how often it had to hold them back."""

    sent_bytes: int
    held_back: int


class Networks(Protocol):
    """Network namespaces by service, of this run only; every write is read back.

    Every call raises LabError when the namespace is not one of this run's, or refuses; UsageError
    for a service or link that is not there, and for what this kernel cannot do.
    """

    async def drop(self, drop: Drop) -> None:
        """Drop these packets from now on; one of the same name is replaced."""
        ...

    async def undrop(self, service: str, name: str) -> None:
        """Let them pass again; none of that name is fine."""
        ...

    async def forget(self, service: str, name: str) -> None:
        """End the service's sockets of connections that `name` drops, and tell nobody of it."""
        ...

    async def counts(self, service: str, name: str) -> Counts:
        """What the drop of that name has counted; zeros without one."""
        ...

    async def shape(self, shape: Shape) -> None:
        """Shape what the service sends on every way out; one shape a service at a time.

        Raises UsageError where the kernel has not what the shape needs, naming it.
        """
        ...

    async def unshape(self, service: str, name: str) -> None:
        """Take the shape off; none of that name is fine."""
        ...

    async def shaped(self, service: str, name: str) -> Shaped:
        """What the shape of that name has counted; zeros without one."""
        ...

    async def disconnect(self, service: str) -> None:
        """Pull the service's cable: it has no network at all; none already is fine."""
        ...

    async def connect(self, service: str) -> None:
        """Plug it in again, under its names; one that is in is fine."""
        ...
