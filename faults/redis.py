"""Faults inside Redis: it stalls, forgets, refuses, or throws clients out.

Given by an administrator inside the container, so no link is crossed. What is done again and again
is done on one connection, which ends with the fault and with the lab. Redis 7 command reference.
Its restart is `restart` or `failover` of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from faults.checks import one_of, within
from faults.stores import felt_by, grown, hampered, mark
from lab.fault import Effect, Window
from lab.hands import Lab

STALL_MS_MAX = 2000
"""No stall lasts longer at a time: nothing but its end gets through, not even the heal."""

_BUSY = """
local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
local till = now() + tonumber(ARGV[1])
while now() < till do end
"""
_EXPIRE = """
local keys = redis.call('KEYS', ARGV[1])
for _, key in ipairs(keys) do redis.call('PEXPIRE', key, 1) end
return #keys
"""
_FLUSH = """
if string.find(redis.call('INFO', 'keyspace'), 'keys=', 1, true) then
  redis.call('FLUSHALL', 'SYNC')
end
"""


@dataclass(frozen=True, slots=True)
class _Held:
    """A fault that is held in the server under its own name."""

    kind: ClassVar[str]

    @property
    def target(self) -> str:
        """The whole server, unless it is told otherwise."""
        return "redis"

    async def heal(self, lab: Lab) -> None:
        """End the lab's own connection; or put the settings back."""
        await lab.redis.release(mark(self))


@dataclass(frozen=True, slots=True)
class _Counted(_Held):
    """A fault whose bite Redis itself counts."""

    counters: ClassVar[Mapping[str, str]]
    """INFO's name -> what it counts, in words."""

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """INFO's own counters."""
        figures = await lab.redis.figures()
        return {f"redis.{name}": figures.get(name, 0.0) for name in self.counters}

    def _counted(self, during: Window) -> Effect:
        return grown(during, {f"redis.{name}": told for name, told in self.counters.items()})


@dataclass(frozen=True, slots=True)
class ClientPause(_Held):
    """Lets no client through for `pause_ms`, and again every `every_ms`; nobody is told.

    mode: `all` commands wait, or only those that `write`.
    """

    pause_ms: int
    every_ms: int
    mode: Literal["all", "write"] = "all"
    kind: ClassVar[str] = "client_pause"

    def __post_init__(self) -> None:
        within(self.kind, "pause_ms", self.pause_ms, 1, STALL_MS_MAX)
        within(self.kind, "every_ms", self.every_ms, 1, 3_600_000)
        one_of(self.kind, "mode", self.mode, ("all", "write"))

    async def inject(self, lab: Lab) -> None:
        """CLIENT PAUSE, which ends by itself."""
        words = ("CLIENT", "PAUSE", str(self.pause_ms), self.mode.upper())
        await lab.redis.repeat(mark(self), self.every_ms, *words)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations were hampered."""
        return hampered(before, during)


@dataclass(frozen=True, slots=True)
class Block(_Counted):
    """Blocks the one thread of Redis with a script for `block_ms`, again every `every_ms`."""

    block_ms: int
    every_ms: int
    kind: ClassVar[str] = "block"
    counters: ClassVar[Mapping[str, str]] = {"cmdstat_eval_ro.usec": "us in a script that waits"}

    def __post_init__(self) -> None:
        within(self.kind, "block_ms", self.block_ms, 1, STALL_MS_MAX)
        within(self.kind, "every_ms", self.every_ms, 1, 3_600_000)

    async def inject(self, lab: Lab) -> None:
        """A read-only script, so that it could be killed as well."""
        script = ("EVAL_RO", _BUSY, "0", str(self.block_ms))
        await lab.redis.repeat(mark(self), self.every_ms, *script)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations were hampered; how long it was blocked is told beside."""
        traffic, seen = hampered(before, during), self._counted(during)
        observed = {**traffic.observed, **seen.observed}
        return Effect(traffic.bit, f"{traffic.how}; {seen.how}", observed)


@dataclass(frozen=True, slots=True)
class KillClients(_Held):
    """Closes every client's connection, again every `every_ms`."""

    every_ms: int = 1000
    kind: ClassVar[str] = "kill_clients"

    def __post_init__(self) -> None:
        within(self.kind, "every_ms", self.every_ms, 1, 3_600_000)

    async def inject(self, lab: Lab) -> None:
        """CLIENT KILL of all but the lab's own connection."""
        words = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await lab.redis.repeat(mark(self), self.every_ms, *words)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations were hampered: new connections a health check opens as well."""
        return hampered(before, during)


@dataclass(frozen=True, slots=True)
class Evict(_Counted):
    """Leaves Redis `maxmemory_mb` MiB, beyond which it drops the keys used least, whose ever."""

    maxmemory_mb: int
    kind: ClassVar[str] = "evict"
    counters: ClassVar[Mapping[str, str]] = {"evicted_keys": "keys were evicted"}

    def __post_init__(self) -> None:
        within(self.kind, "maxmemory_mb", self.maxmemory_mb, 1, 1_048_576)

    async def inject(self, lab: Lab) -> None:
        """Both settings at once; what they were comes back."""
        settings = {"maxmemory": f"{self.maxmemory_mb}mb", "maxmemory-policy": "allkeys-lru"}
        await lab.redis.configure(mark(self), settings)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a key was evicted."""
        return self._counted(during)


@dataclass(frozen=True, slots=True)
class RedisReadOnly(_Counted):
    """Every write is refused (NOREPLICAS), as on a master that lost its replicas."""

    kind: ClassVar[str] = "redis_read_only"
    counters: ClassVar[Mapping[str, str]] = {"errorstat_NOREPLICAS.count": "writes were refused"}

    async def inject(self, lab: Lab) -> None:
        """One replica is asked for that does not exist."""
        await lab.redis.configure(mark(self), {"min-replicas-to-write": "1"})

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a write was refused."""
        return self._counted(during)


@dataclass(frozen=True, slots=True)
class FlushAll(_Counted):
    """Forgets every key of every tenant, once. No heal brings them back: the system has to."""

    kind: ClassVar[str] = "flush_all"
    counters: ClassVar[Mapping[str, str]] = {"cmdstat_flushall.calls": "times all was forgotten"}

    async def inject(self, lab: Lab) -> None:
        """FLUSHALL where there is a key, done when it returns."""
        await lab.redis.call("EVAL", _FLUSH, "0")

    async def heal(self, lab: Lab) -> None:
        """Nothing to undo: filling itself again is the system's own duty, and is judged."""

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when there was something to forget; what traffic made of it is told beside."""
        seen, traffic = (
            self._counted(during),
            hampered(before, during),
        )
        return Effect(seen.bit, f"{seen.how}; {traffic.how}", {**seen.observed, **traffic.observed})


@dataclass(frozen=True, slots=True)
class KeyExpire(_Counted):
    """Lets one tenant's keys expire, again every `every_ms`; no other tenant's key is touched.

    Which keys those are, the stack file says (`tenant_keys`).
    """

    tenant: str
    every_ms: int = 200
    kind: ClassVar[str] = "key_expire"
    counters: ClassVar[Mapping[str, str]] = {"cmdstat_pexpire.calls": "keys were let expire"}

    def __post_init__(self) -> None:
        within(self.kind, "every_ms", self.every_ms, 1, 3_600_000)

    @property
    def target(self) -> str:
        """Whose keys."""
        return f"keys of {self.tenant}"

    async def inject(self, lab: Lab) -> None:
        """PEXPIRE 1 for each key that matches."""
        pattern = await lab.redis.keys_of(lab.tenants[self.tenant])
        await lab.redis.repeat(mark(self), self.every_ms, "EVAL", _EXPIRE, "0", pattern)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a key was let expire."""
        seen, traffic = self._counted(during), felt_by(self.tenant, before, during)
        return Effect(seen.bit, f"{seen.how}; {traffic.how}", {**seen.observed, **traffic.observed})
