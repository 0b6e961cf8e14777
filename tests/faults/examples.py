"""One example or more of every fault, for the conformance suite; a new fault needs one here."""

from __future__ import annotations

from collections.abc import Callable

from faults.clock import Skew
from faults.containers import CpuQuota, Kill, MemoryLimit, Pause, PidsLimit, Restart, Stop
from faults.disk import Fill, PowerCut, ReadOnly
from faults.links_more import Bandwidth, LimitData, ResetPeer, Slicer, SlowClose, Timeout
from faults.netns import (
    Disconnect,
    DnsFailure,
    HalfOpen,
    Isolate,
    PacketDelay,
    PacketLoss,
    Rate,
)
from faults.network import Down, Latency, Partition
from faults.postgres import DdlQueue, Deadlock, LockHold, TerminateBackends
from faults.postgres_server import (
    ConnectionExhaustion,
    IdleInTransaction,
    LostCommitAck,
    PostgresReadOnly,
    SlowQuery,
)
from faults.quotas import Quota
from faults.redis import Block, ClientPause, Evict, FlushAll, KeyExpire, KillClients, RedisReadOnly
from faults.regions import Region
from faults.services import Failover, Hang, HttpError
from faults.stress import CpuStress, IoThrottle, MemoryHog, OomKill
from faults.tenants import (
    AbruptDisconnect,
    BadInput,
    CancelStorm,
    CrashAgent,
    Flood,
    PoisonMessage,
    ReconnectStorm,
    SlowConsumer,
    TokenExpiry,
)
from lab.fault import Fault

Make = Callable[[], Fault]

EXAMPLES: tuple[Make, ...] = (
    lambda: Bandwidth("redis", 64),
    lambda: Bandwidth("redis", 64, "upstream"),
    lambda: CpuQuota("redis", 0.25),
    lambda: CpuStress("redis", 2),
    lambda: Disconnect("redis"),
    lambda: DnsFailure("app"),
    lambda: DnsFailure("app", "refused"),
    lambda: Down("redis"),
    lambda: Failover("redis", 20),
    lambda: Fill("redis"),
    lambda: Fill("redis", 100),
    lambda: Hang("redis"),
    lambda: IoThrottle("redis", 100),
    lambda: HalfOpen("redis"),
    lambda: Isolate("redis"),
    lambda: Isolate("app", "redis", "to"),
    lambda: Kill("redis"),
    lambda: Kill("redis", "SIGTERM"),
    lambda: Latency("redis", 50, 10),
    lambda: LimitData("redis", 1000),
    lambda: MemoryHog("redis", 20),
    lambda: MemoryLimit("redis", 64),
    lambda: OomKill("redis"),
    lambda: PacketDelay("redis", 20, 5),
    lambda: PacketLoss("redis", 12.5),
    lambda: PacketLoss("app", 5, "redis"),
    lambda: Partition("redis"),
    lambda: Partition("redis", "to"),
    lambda: Pause("redis"),
    lambda: PidsLimit("redis", 40),
    lambda: PowerCut("redis"),
    lambda: ReadOnly("redis"),
    lambda: Rate("redis", 64),
    lambda: Region("redis", "zone-zone"),
    lambda: ResetPeer("redis", 5),
    lambda: Restart("redis"),
    lambda: Slicer("redis", 100, 50, 1000),
    lambda: Skew("app", 3600.0),
    lambda: Skew("app", -86400.0),
    lambda: SlowClose("redis", 100),
    lambda: Stop("redis"),
    lambda: Timeout("redis", 500),
)

INSIDE: tuple[Make, ...] = (
    lambda: Block(50, 200),
    lambda: ClientPause(50, 200),
    lambda: ClientPause(50, 200, "write"),
    lambda: ConnectionExhaustion(leave=2),
    lambda: DdlQueue("orders"),
    lambda: Deadlock("target-0", "orders", "stock"),
    lambda: Evict(8),
    lambda: FlushAll(),
    lambda: HttpError("stub"),
    lambda: IdleInTransaction(3),
    lambda: KeyExpire("target-0"),
    lambda: KillClients(),
    lambda: LockHold("target-0", "orders"),
    lambda: LostCommitAck("postgres", 50),
    lambda: PostgresReadOnly(),
    lambda: RedisReadOnly(),
    lambda: SlowQuery(2),
    lambda: TerminateBackends("target-0"),
)
"""Faults inside stores and stubs, which the smallest system has not."""

TENANTS: tuple[Make, ...] = (
    lambda: AbruptDisconnect("target-0", 3),
    lambda: BadInput("target-0", 5.0),
    lambda: CancelStorm("target-0", 5.0),
    lambda: CrashAgent("target-0"),
    lambda: Flood("target-0", 20.0),
    lambda: PoisonMessage("target-0"),
    lambda: Quota("target-0", "requests", 5.0),
    lambda: ReconnectStorm("target-0", 5.0),
    lambda: SlowConsumer("target-0", 20.0),
    lambda: TokenExpiry("target-0"),
)
"""Faults on one tenant, which only a run has."""


def told(make: Make) -> str:
    """A test's name for an example."""
    return repr(make())
