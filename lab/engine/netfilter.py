"""Packet filter rules as text, and what a namespace tells of itself (`iptables-save(8)`). Pure.

Rules are written as `iptables-save` prints them, so that reading back is comparing text.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Literal

import msgspec

from lab.errors import LabError
from lab.hands.network import Counts, Direction, Drop, Shape, Shaped

RESOLVER = "127.0.0.11"
"""The engine's resolver, inside every namespace of a network that has names."""

BURST_SECONDS = 0.01
FRAMES_BYTES = 2 * 1600
"""A token bucket holds what may pass in this time, and two full frames at least (tc-tbf(8))."""

QUEUE_MS = 400
"""What would wait longer in the bucket's queue is dropped, as a router does."""

_ESTABLISHED = "01"  # in /proc/net/tcp, see proc(5)
_STEPS = 2**31  # iptables keeps a probability as a share of this
_RULE = re.compile(r"\[(?P<packets>\d+):\d+\] (?P<rule>-A (?P<chain>\S+) .*)")


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """A TCP connection that stands, from the side of the namespace."""

    local: str
    local_port: int
    remote: str
    remote_port: int

    @property
    def as_filter(self) -> str:
        """The socket, in the words of ss(8)."""
        local, remote = f"{self.local}:{self.local_port}", f"{self.remote}:{self.remote_port}"
        return f"src {local} dst {remote}"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: of the service that listens on `port`, or of one that talks to `peer`."""

    port: int
    peer: str = ""

    def holds(self, flow: Flow) -> bool:
        """Whether a connection is one of the link's."""
        if self.peer:
            return (flow.remote, flow.remote_port) == (self.peer, self.port)
        return flow.local_port == self.port


class Queue(msgspec.Struct, frozen=True):
    """A queueing discipline, as `tc -s -j` tells it."""

    kind: str
    handle: str
    dev: str
    bytes: int = 0
    overlimits: int = 0
    options: dict[str, object] = {}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in its chain, and the packets that it has met."""

    text: str
    chain: str
    packets: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """What there is in a network namespace."""

    rules: tuple[Rule, ...]
    flows: tuple[Flow, ...]
    queues: tuple[Queue, ...]

    def texts(self, name: str) -> tuple[str, ...]:
        """The rules of a drop's two chains, and the jumps into them."""
        chains = (f"{name}-in", f"{name}-out")
        return tuple(r.text for r in self.rules if r.chain in chains or r.text.endswith(chains))

    def counts(self, name: str) -> Counts:
        """The packets of a drop: each met one rule that ends its way, dropping it or not."""
        mine = [rule for rule in self.rules if rule.chain in (f"{name}-in", f"{name}-out")]
        dropped = sum(r.packets for r in mine if "-j RETURN" not in r.text)
        return Counts(sum(rule.packets for rule in mine), dropped)

    def shaped(self, handle: str) -> Shaped:
        """The counters of a rate limit, over all ways out."""
        mine = [queue for queue in self.queues if queue.handle == f"{handle}:"]
        return Shaped(sum(q.bytes for q in mine), sum(q.overlimits for q in mine))


def rules(drop: Drop, end: End | None, flows: Sequence[Flow] = ()) -> tuple[str, ...]:
    """The rules for a drop; `flows`: the connections, where only those that stand are meant."""
    if drop.packets == "names":
        return tuple(_names(drop))
    if drop.packets == "standing":
        return tuple(
            f"-A {drop.name}-{way} {_of_flow(flow, way)} -j DROP"
            for flow in flows
            for way in _ways(drop.direction)
        )
    found: list[str] = []
    for way in _ways(drop.direction):
        head = f"-A {drop.name}-{way} {_of_end(end, way)}"
        if drop.percent < 100:
            found += [f"{head} {_share(drop.percent)} -j DROP", f"{head} -j RETURN"]
        else:
            found.append(f"{head} -j DROP")
    return tuple(found)


def discipline(shape: Shape) -> tuple[str, ...]:
    """The queueing discipline that makes a shape, in the words of tc(8)."""
    if shape.rate_kbps:
        burst = max(FRAMES_BYTES, int(shape.rate_kbps * 1000 * BURST_SECONDS))
        rate = f"{shape.rate_kbps * 1000}bps"  # tc's word for bytes a second
        return ("tbf", "rate", rate, "burst", str(burst), "latency", f"{QUEUE_MS}ms")
    return ("netem", "delay", f"{shape.delay_ms}ms", f"{shape.jitter_ms}ms")


def jumps(name: str) -> tuple[str, str]:
    """The rules that lead into a drop's two chains."""
    return (f"-A INPUT -j {name}-in", f"-A OUTPUT -j {name}-out")


def flow_of(rule: str) -> Flow | None:
    """The connection whose outgoing packets the rule drops; None for any other rule."""
    match = re.match(r"-A \S+-out -s (\S+)/32 -d (\S+)/32 -p tcp -m tcp", rule)
    ports = dict(re.findall(r"--([sd])port (\d+)", rule))
    return Flow(match[1], int(ports["s"]), match[2], int(ports["d"])) if match else None


def parsed(text: str) -> Namespace:
    """What the sidecar told (`compose/images/netns/netns`). Raises LabError for anything else."""
    found = re.fullmatch(r"(?s)== rules\n(.*)== flows\n(.*)== queues\n(.*)", text)
    if found is None:
        raise LabError(f"its namespace does not tell what is in it: {text[-200:]!r}")
    matches = (_RULE.match(line) for line in found[1].splitlines())
    try:
        queues = msgspec.json.decode(found[3] or "[]", type=tuple[Queue, ...])
    except msgspec.DecodeError as error:
        raise LabError(f"tc's answer makes no sense: {error}") from error
    return Namespace(
        tuple(Rule(m["rule"].rstrip(), m["chain"], int(m["packets"])) for m in matches if m),
        tuple(sorted(set(standing(found[2])))),
        queues,
    )


def standing(table: str) -> Iterator[Flow]:
    """The established connections in /proc/net/tcp and tcp6 (proc(5)), loopback's left out.

    A socket for both families shows its IPv4 peers as mapped addresses (RFC 4291, 2.5.5.2).
    """
    for line in table.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == _ESTABLISHED and words[0].endswith(":"):
            local, local_port = _address(words[1])
            remote, remote_port = _address(words[2])
            if local and remote and not local.startswith("127."):
                yield Flow(local, local_port, remote, remote_port)


def _address(text: str) -> tuple[str, int]:
    """An address as the kernel prints it: words of the machine's order, in hex; '' for real IPv6.

    The lab's networks have IPv4 only.
    """
    digits, _, port = text.partition(":")
    parts = [digits[at : at + 8] for at in range(0, len(digits), 8)]
    raw = b"".join(bytes.fromhex(part)[::-1] for part in parts)
    if len(raw) == 4:
        return socket.inet_ntoa(raw), int(port, 16)
    mapped = IPv6Address(raw).ipv4_mapped
    return (str(mapped) if mapped else ""), int(port, 16)


def _ways(direction: Direction) -> tuple[Literal["in", "out"], ...]:
    ways: dict[Direction, tuple[Literal["in", "out"], ...]] = {
        "both": ("in", "out"),
        "to": ("in",),
        "from": ("out",),
    }
    return ways[direction]


def _of_end(end: End | None, way: Literal["in", "out"]) -> str:
    if end is None:
        return "! -i lo" if way == "in" else "! -o lo"
    address, port = ("-s", "sport") if way == "in" else ("-d", "dport")
    if not end.peer:
        port = "dport" if way == "in" else "sport"
        return f"-p tcp -m tcp --{port} {end.port}"
    return f"{address} {end.peer}/32 -p tcp -m tcp --{port} {end.port}"


def _of_flow(flow: Flow, way: Literal["in", "out"]) -> str:
    near, far = (flow.local, flow.local_port), (flow.remote, flow.remote_port)
    (source, sport), (target, dport) = (far, near) if way == "in" else (near, far)
    return f"-s {source}/32 -d {target}/32 -p tcp -m tcp --sport {sport} --dport {dport}"


def _names(drop: Drop) -> Iterator[str]:
    target = "REJECT --reject-with icmp-port-unreachable" if drop.refused else "DROP"
    yield f"-A {drop.name}-out -d {RESOLVER}/32 -j {target}"


def _share(percent: float) -> str:
    share = round(percent / 100 * _STEPS) / _STEPS
    return f"-m statistic --mode random --probability {share:.11f}"
