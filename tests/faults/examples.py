"""One example or more of every fault, for the conformance suite; a new fault needs one here."""

from __future__ import annotations

from collections.abc import Callable

from faults.containers import CpuQuota, Kill, MemoryLimit, Pause, PidsLimit, Restart, Stop
from faults.links_more import Bandwidth, LimitData, ResetPeer, Slicer, SlowClose, Timeout
from faults.network import Down, Latency, Partition
from faults.tenants import CrashAgent
from lab.fault import Fault

Make = Callable[[], Fault]

EXAMPLES: tuple[Make, ...] = (
    lambda: Bandwidth("redis", 64),
    lambda: Bandwidth("redis", 64, "upstream"),
    lambda: CpuQuota("redis", 0.25),
    lambda: CrashAgent("target-0"),
    lambda: Down("redis"),
    lambda: Kill("redis"),
    lambda: Kill("redis", "SIGTERM"),
    lambda: Latency("redis", 50, 10),
    lambda: LimitData("redis", 1000),
    lambda: MemoryLimit("redis", 64),
    lambda: Partition("redis"),
    lambda: Partition("redis", "to"),
    lambda: Pause("redis"),
    lambda: PidsLimit("redis", 40),
    lambda: ResetPeer("redis", 5),
    lambda: Restart("redis"),
    lambda: Slicer("redis", 100, 50, 1000),
    lambda: SlowClose("redis", 100),
    lambda: Stop("redis"),
    lambda: Timeout("redis", 500),
)


def told(make: Make) -> str:
    """A test's name for an example."""
    return repr(make())
