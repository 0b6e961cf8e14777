"""Faults on packets, in the network namespace of one service: the kernel drops, slows, forgets.

They hit everything the service sends and receives but loopback, or with `link` only that link, of
which the service must be one end. Open connections feel them: packets of a connection are packets.
The rules are in chains of the lab's own; packet counters are their witness. IPv4 only, as the lab's
networks are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

from faults.checks import one_of, within
from faults.effects import slowed, starved
from faults.marks import chain
from faults.stores import hampered
from lab.fault import Effect, Window
from lab.hands import Drop, Lab, Shape

PACKETS_MIN = 10.0
"""Fewer packets lost or held back than this say nothing, unless somebody felt it."""

DIRECTIONS = ("both", "to", "from")
ANSWERS = ("none", "refused")


class _OnService:
    """What all of them have: a service that is hit, and a name for what is put there."""

    __slots__ = ()
    service: str
    kind: ClassVar[str]

    @property
    def target(self) -> str:
        """The service that is hit, and on which link."""
        link: str = getattr(self, "link", "")
        return f"service {self.service}" + (f" on link {link}" if link else "")


class _Dropping(_OnService):
    """A fault that is one drop: put in, taken out, and judged by its counters and the traffic.

    telling: how many dropped packets confirm it though no traffic shows it.
    """

    __slots__ = ()
    telling: ClassVar[float] = 1

    @property
    def drop(self) -> Drop:
        """What is dropped."""
        raise NotImplementedError

    async def inject(self, lab: Lab) -> None:
        """Put the rules in; they act on open connections too."""
        await lab.networks.drop(self.drop)

    async def heal(self, lab: Lab) -> None:
        """Take the rules out; none is fine."""
        await lab.networks.undrop(self.service, chain(self))

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """Packets met and dropped."""
        seen = await lab.networks.counts(self.service, chain(self))
        return {f"{chain(self)}.met": seen.met, f"{chain(self)}.dropped": seen.dropped}

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when packets were dropped: many enough, or so that the traffic shows it."""
        met, dropped = (during.counters.get(f"{chain(self)}.{n}", 0.0) for n in ("met", "dropped"))
        seen = hampered(before, during)
        percent = 100 * dropped / met if met else 0.0
        how = f"{dropped:.0f} of {met:.0f} packets dropped; {seen.how}"
        counted = {"packets": met, "packets_dropped": dropped, "percent": percent}
        bit = dropped >= self.telling or (dropped > 0 and seen.bit)
        return Effect(bit, how, {**seen.observed, **counted})


@dataclass(frozen=True, slots=True)
class Isolate(_Dropping):
    """The service is alone: its packets are lost, both ways or one, and nobody is told.

    direction: `to` the service, or `from` it. Connections stay, and go on after the heal if they
    were not given up by then; `partition` does it to one link at the proxy, and ends them.
    """

    service: str
    link: str = ""
    direction: Literal["both", "to", "from"] = "both"
    kind: ClassVar[str] = "isolate"
    telling: ClassVar[float] = inf

    def __post_init__(self) -> None:
        one_of(self.kind, "direction", self.direction, DIRECTIONS)

    @property
    def drop(self) -> Drop:
        """All packets of the direction."""
        return Drop(
            name=chain(self), service=self.service, link=self.link, direction=self.direction
        )


@dataclass(frozen=True, slots=True)
class PacketLoss(_Dropping):
    """Loses `percent` of the service's packets, each drawn for itself by the kernel.

    The draws cannot be seeded; TCP sends again, and what is seen above it is delay.
    """

    service: str
    percent: float
    link: str = ""
    direction: Literal["both", "to", "from"] = "both"
    kind: ClassVar[str] = "packet_loss"
    telling: ClassVar[float] = PACKETS_MIN

    def __post_init__(self) -> None:
        within(self.kind, "percent", self.percent, 0.01, 100.0)
        one_of(self.kind, "direction", self.direction, DIRECTIONS)

    @property
    def drop(self) -> Drop:
        """A share of the packets (iptables-extensions(8), `statistic`)."""
        return Drop(
            name=chain(self),
            service=self.service,
            link=self.link,
            direction=self.direction,
            percent=float(self.percent),
        )


@dataclass(frozen=True, slots=True)
class HalfOpen(_Dropping):
    """The connections that stand at the injection die in silence, for good; new ones are fine.

    As when a NAT table or a load balancer forgets them, or the service's machine is replaced. The
    heal brings none of them back: the service forgets its ends, and whoever is at the other end
    learns of it when it next speaks (half-open as in RFC 9293, 3.5.1).
    """

    service: str
    link: str = ""
    kind: ClassVar[str] = "half_open"

    @property
    def drop(self) -> Drop:
        """The packets of the connections there are."""
        return Drop(name=chain(self), service=self.service, link=self.link, packets="standing")

    async def heal(self, lab: Lab) -> None:
        """Let the service forget the connections while its packets are still lost; then undo."""
        try:
            await lab.networks.forget(self.service, chain(self))
        finally:
            await lab.networks.undrop(self.service, chain(self))


@dataclass(frozen=True, slots=True)
class DnsFailure(_Dropping):
    """No name can be resolved any more: queries get no answer at all, or are refused at once.

    Only what is looked up anew feels it: connections that stand, and names that a client keeps, do
    not. answer: `none` leaves each query to its time-out.
    """

    service: str
    answer: Literal["none", "refused"] = "none"
    kind: ClassVar[str] = "dns_failure"
    covers_open: ClassVar[bool] = False

    def __post_init__(self) -> None:
        one_of(self.kind, "answer", self.answer, ANSWERS)

    @property
    def drop(self) -> Drop:
        """The queries to the engine's own resolver, which answers inside the namespace."""
        refused = self.answer == "refused"
        return Drop(name=chain(self), service=self.service, packets="names", refused=refused)


@dataclass(frozen=True, slots=True)
class Disconnect(_OnService):
    """The service's cable is pulled: its network is gone, and its name with it.

    Plugged in again it has its names and the lowest free address, which is the one it had. Open
    connections survive a short cut only where the address is the same.
    """

    service: str
    kind: ClassVar[str] = "disconnect"

    async def inject(self, lab: Lab) -> None:
        """Take the service out of its network."""
        await lab.networks.disconnect(self.service)

    async def heal(self, lab: Lab) -> None:
        """Put it back under its names; one that is in stays."""
        await lab.networks.connect(self.service)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when half of those that were answered before are not any more."""
        return starved(before, during)


class _Shaping(_OnService):
    """A fault that is one shape of what the service sends; one a service at a time."""

    __slots__ = ()

    @property
    def shape(self) -> Shape:
        """What becomes of the packets."""
        raise NotImplementedError

    def effect(self, before: Window, during: Window) -> Effect:
        """Judged by each for itself."""
        raise NotImplementedError

    async def inject(self, lab: Lab) -> None:
        """Put the queue in; what the service sends from now on goes through it."""
        await lab.networks.shape(self.shape)

    async def heal(self, lab: Lab) -> None:
        """Take the queue off; none is fine."""
        await lab.networks.unshape(self.service, chain(self))

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """Bytes sent, and how often the queue held them back."""
        seen = await lab.networks.shaped(self.service, chain(self))
        return {f"{chain(self)}.sent": seen.sent_bytes, f"{chain(self)}.held": seen.held_back}


@dataclass(frozen=True, slots=True)
class Rate(_Shaping):
    """The service sends at most `rate_kbps` kilobytes (1000 bytes) a second, headers and all.

    `bandwidth` limits each connection of a link by itself; this is the service's one line.
    """

    service: str
    rate_kbps: int
    kind: ClassVar[str] = "rate"

    def __post_init__(self) -> None:
        within(self.kind, "rate_kbps", self.rate_kbps, 1, 1_000_000)

    @property
    def shape(self) -> Shape:
        """A token bucket (tc-tbf(8))."""
        return Shape(name=chain(self), service=self.service, rate_kbps=self.rate_kbps)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when the bucket held packets back: often, or so that the traffic shows it.

        `rate_kbps` is what really went out.
        """
        held = during.counters.get(f"{chain(self)}.held", 0.0)
        sent = during.counters.get(f"{chain(self)}.sent", 0.0)
        rate_kbps = sent / 1000 / during.seconds
        seen = hampered(before, during)
        how = f"held back {held:.0f} times, {rate_kbps:.1f} kB/s went out; {seen.how}"
        bit = held >= PACKETS_MIN or (held > 0 and seen.bit)
        return Effect(bit, how, {**seen.observed, "rate_kbps": rate_kbps, "held_back": held})


@dataclass(frozen=True, slots=True)
class PacketDelay(_Shaping):
    """Each packet that the service sends leaves `delay_ms` +- `jitter_ms` later.

    With a jitter they overtake each other, as on a real path; `latency` keeps their order. Needs a
    kernel with netem, and is refused without it.
    """

    service: str
    delay_ms: int
    jitter_ms: int = 0
    kind: ClassVar[str] = "packet_delay"

    def __post_init__(self) -> None:
        within(self.kind, "delay_ms", self.delay_ms, 1, 60_000)
        within(self.kind, "jitter_ms", self.jitter_ms, 0, self.delay_ms)

    @property
    def shape(self) -> Shape:
        """netem (tc-netem(8))."""
        return Shape(
            name=chain(self),
            service=self.service,
            delay_ms=self.delay_ms,
            jitter_ms=self.jitter_ms,
        )

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations took at least half the delay longer."""
        return slowed(before, during, 0.5 * (self.delay_ms - self.jitter_ms))
