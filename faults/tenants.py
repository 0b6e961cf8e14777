"""Faults on one tenant: what its own side, or its own agent, can suffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from signal import SIGKILL
from typing import ClassVar, Literal

from faults.checks import one_of, within
from faults.stores import felt_alone, felt_by, grown, mark
from lab.fault import Effect, Window
from lab.hands import Lab, Manner
from lab.hands.clients import CONNECTIONS_MAX, PER_SECOND_MAX

DONE = ("sent", "connected", "answered")
"""What misbehaving clients count that the system had to deal with: it was reached."""


@dataclass(frozen=True, slots=True)
class CrashAgent:
    """SIGKILL of one tenant's agent process. The platform has to notice and start another.

    tenant: the logical name, as in `target-0`.
    """

    tenant: str
    kind: ClassVar[str] = "crash_agent"

    @property
    def target(self) -> str:
        """Whose agent dies."""
        return f"agent of {self.tenant}"

    async def inject(self, lab: Lab) -> None:
        """Find the agent in the process table and kill it.

        An agent that is not there is the system's doing, not a failure of the lab: nothing is
        killed, and the effect says so.
        """
        found = (await lab.containers.agents()).get(lab.tenants[self.tenant])
        if found is not None:
            await lab.containers.kill_process(found, SIGKILL)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """When the agent's process began, in clock ticks, and how many there are: one or none."""
        found = (await lab.containers.agents()).get(lab.tenants[self.tenant])
        name = f"agent.{self.tenant}"
        return {
            f"{name}.started": float(found.started) if found else 0.0,
            f"{name}.there": float(found is not None),
        }

    async def heal(self, lab: Lab) -> None:
        """Nothing to undo: coming back is the platform's own duty, and is judged."""

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when the process that ran before is gone or is another one now.

        Where none ran before, nothing was killed, whatever the platform started since.
        """
        name = f"agent.{self.tenant}"
        changed = during.counters.get(f"{name}.started", 0.0)
        bit = changed != 0 and during.counters.get(f"{name}.there", 0.0) <= 0
        how = "the process that ran is gone" if bit else "there was none, or it still runs"
        return Effect(bit, how, {"start_time_change_ticks": changed})


@dataclass(frozen=True, slots=True)
class _Misbehaves:
    """A fault on one tenant's own side, which goes on until it is healed.

    tenant: the logical name, as in `noisy-0`.
    """

    tenant: str
    kind: ClassVar[str]
    by_clients: ClassVar[bool] = True

    @property
    def target(self) -> str:
        """Whose clients misbehave."""
        return f"clients of {self.tenant}"

    def manner(self) -> Manner:
        """How, and how much."""
        raise NotImplementedError

    async def inject(self, lab: Lab) -> None:
        """Begin; sessions of the tenant that are open already are left alone."""
        await lab.clients.begin(mark(self), self.manner())

    async def heal(self, lab: Lab) -> None:
        """Stop, and drop its connections without a word."""
        await lab.clients.end(mark(self))

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """What the clients did so far."""
        done = await lab.clients.counts(mark(self))
        return {f"{mark(self)}.{name}": number for name, number in done.items()}

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when the system had to deal with it: something was sent, or connected.

        What it did to everybody is told beside; that it did nothing is a finding of its own.
        """
        names = {f"{mark(self)}.{name}": name for name in DONE}
        seen, traffic = grown(during, names), felt_by(self.tenant, before, during)
        observed = {**traffic.observed, **seen.observed}
        return Effect(seen.bit, f"{seen.how}; {traffic.how}", observed)


@dataclass(frozen=True, slots=True)
class Flood(_Misbehaves):
    """The tenant asks `per_second` times a second, beside its ordinary load.

    action: `work` of `amount_ms`, `read` or `write`; connections: that share it.
    """

    per_second: float
    action: Literal["work", "read", "write"] = "work"
    amount_ms: int = 50
    connections: int = 4
    kind: ClassVar[str] = "flood"

    def __post_init__(self) -> None:
        within(self.kind, "per_second", self.per_second, 0.1, PER_SECOND_MAX)
        one_of(self.kind, "action", self.action, ("work", "read", "write"))
        within(self.kind, "amount_ms", self.amount_ms, 0, 60_000)
        within(self.kind, "connections", self.connections, 1, CONNECTIONS_MAX)

    def manner(self) -> Manner:
        """As many as asked."""
        return Manner(
            "flood", self.tenant, self.per_second, self.connections, self.action, self.amount_ms
        )


@dataclass(frozen=True, slots=True)
class CancelStorm(_Misbehaves):
    """Starts work of `amount_ms`, drops the connection, `per_second` times a second."""

    per_second: float
    amount_ms: int = 500
    kind: ClassVar[str] = "cancel_storm"

    def __post_init__(self) -> None:
        within(self.kind, "per_second", self.per_second, 0.1, PER_SECOND_MAX)
        within(self.kind, "amount_ms", self.amount_ms, 1, 60_000)

    def manner(self) -> Manner:
        """Each on a connection of its own."""
        return Manner("cancel", self.tenant, self.per_second, amount_ms=self.amount_ms)


@dataclass(frozen=True, slots=True)
class AbruptDisconnect(_Misbehaves):
    """`connections` connections with work in flight are reset in one moment, every `every_ms`."""

    connections: int
    every_ms: int = 1000
    kind: ClassVar[str] = "abrupt_disconnect"

    def __post_init__(self) -> None:
        within(self.kind, "connections", self.connections, 1, CONNECTIONS_MAX)
        within(self.kind, "every_ms", self.every_ms, 100, 3_600_000)

    def manner(self) -> Manner:
        """All of them at once."""
        return Manner("hang_up", self.tenant, 1000 / self.every_ms, self.connections, amount_ms=500)


@dataclass(frozen=True, slots=True)
class ReconnectStorm(_Misbehaves):
    """The tenant logs in, connects and is gone again, `per_second` times a second."""

    per_second: float
    kind: ClassVar[str] = "reconnect_storm"

    def __post_init__(self) -> None:
        within(self.kind, "per_second", self.per_second, 0.1, PER_SECOND_MAX)

    def manner(self) -> Manner:
        """Nothing is asked."""
        return Manner("reconnect", self.tenant, self.per_second)


@dataclass(frozen=True, slots=True)
class SlowConsumer(_Misbehaves):
    """Asks `per_second` times a second and never reads an answer, as a stuck page does."""

    per_second: float
    connections: int = 4
    kind: ClassVar[str] = "slow_consumer"

    def __post_init__(self) -> None:
        within(self.kind, "per_second", self.per_second, 0.1, PER_SECOND_MAX)
        within(self.kind, "connections", self.connections, 1, CONNECTIONS_MAX)

    def manner(self) -> Manner:
        """Reads, whose answers pile up."""
        return Manner("deaf", self.tenant, self.per_second, self.connections, "read")


@dataclass(frozen=True, slots=True)
class BadInput(_Misbehaves):
    """Random bytes, at most 512, on open connections of the tenant, `per_second` times a second."""

    per_second: float
    connections: int = 1
    seed: int = 0
    kind: ClassVar[str] = "bad_input"

    def __post_init__(self) -> None:
        within(self.kind, "per_second", self.per_second, 0.1, PER_SECOND_MAX)
        within(self.kind, "connections", self.connections, 1, CONNECTIONS_MAX)
        within(self.kind, "seed", self.seed, 0, 2**63)

    def manner(self) -> Manner:
        """The same bytes for the same seed."""
        return Manner(
            "garbage", self.tenant, self.per_second, self.connections, "read", seed=self.seed
        )


@dataclass(frozen=True, slots=True)
class PoisonMessage(_Misbehaves):
    """Well-formed writes with hostile content: endless braces, 60 kB, control characters, SQL."""

    per_second: float = 1.0
    seed: int = 0
    kind: ClassVar[str] = "poison_message"

    def __post_init__(self) -> None:
        within(self.kind, "per_second", self.per_second, 0.1, PER_SECOND_MAX)
        within(self.kind, "seed", self.seed, 0, 2**63)

    def manner(self) -> Manner:
        """The same content for the same seed."""
        return Manner("poison", self.tenant, self.per_second, action="write", seed=self.seed)


@dataclass(frozen=True, slots=True)
class TokenExpiry:
    """All tokens of the tenant become worthless at once, as after a rotation of keys.

    Needs a driver that can do that (`revoke`); one that cannot is told so before anything is done.
    """

    tenant: str
    kind: ClassVar[str] = "token_expiry"
    by_clients: ClassVar[bool] = True

    @property
    def target(self) -> str:
        """Whose tokens."""
        return f"tokens of {self.tenant}"

    async def inject(self, lab: Lab) -> None:
        """Through the system's own way to end them."""
        await lab.clients.revoke(self.tenant)

    async def heal(self, lab: Lab) -> None:
        """Nothing to undo: logging in again is the tenant's own duty."""

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when only this tenant was hampered: it had to log in again."""
        return felt_alone(self.tenant, before, during)
