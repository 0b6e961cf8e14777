"""Faults on a link, continued: thin, chopped, broken off, reset and slow to close.

Each is one Toxiproxy toxic with its own name and unit (Toxiproxy 2.12, `toxics` package), always at
toxicity 1. `stream` is the direction it acts on: `downstream` is what the server sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from faults.checks import STREAMS, one_of, within
from faults.effects import either, slowed, starved
from faults.marks import mark
from faults.targets import OnLink
from lab.fault import Effect, Window
from lab.hands import Lab, Toxic

Stream = Literal["downstream", "upstream"]

MS_MAX = 3_600_000
"""An hour; no phase lasts longer."""


@dataclass(frozen=True, slots=True)
class _OneToxic(OnLink):
    """One toxic on one link: put on, taken off, and named after the fault."""

    kind: ClassVar[str]

    def toxic(self) -> Toxic:
        """What is put on the link."""
        raise NotImplementedError

    def effect(self, before: Window, during: Window) -> Effect:
        """Judged by each for itself."""
        raise NotImplementedError

    def _toxic(self, stream: str, attributes: Mapping[str, int]) -> Toxic:
        return Toxic(mark(self), self.kind, stream, attributes)

    async def inject(self, lab: Lab) -> None:
        """Add the toxic; it acts on open connections too."""
        await lab.links.add(self.link, self.toxic())

    async def heal(self, lab: Lab) -> None:
        """Take the toxic off; one that is not there is fine."""
        await lab.links.remove(self.link, mark(self))


@dataclass(frozen=True, slots=True)
class Bandwidth(_OneToxic):
    """Lets at most `rate_kbps` kilobytes (1000 bytes) a second through each connection."""

    rate_kbps: int
    stream: Stream = "downstream"
    kind: ClassVar[str] = "bandwidth"

    def __post_init__(self) -> None:
        within(self.kind, "rate_kbps", self.rate_kbps, 1, 10_000_000)
        one_of(self.kind, "stream", self.stream, STREAMS)

    def toxic(self) -> Toxic:
        """Toxiproxy's `bandwidth`; its rate is in KB/s."""
        return self._toxic(self.stream, {"rate": self.rate_kbps})

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations took twice as long, or half of them were not answered."""
        return either(slowed(before, during), starved(before, during))


@dataclass(frozen=True, slots=True)
class Slicer(_OneToxic):
    """Chops what passes into pieces of about this size, `delay_us` microseconds apart.

    Sizes in bytes; a piece is `average_size_bytes` +- `size_variation_bytes`.
    """

    average_size_bytes: int
    size_variation_bytes: int = 0
    delay_us: int = 0
    stream: Stream = "downstream"
    kind: ClassVar[str] = "slicer"

    def __post_init__(self) -> None:
        within(self.kind, "average_size_bytes", self.average_size_bytes, 1, 65_536)
        most = self.average_size_bytes - 1  # a piece holds at least one byte
        within(self.kind, "size_variation_bytes", self.size_variation_bytes, 0, most)
        within(self.kind, "delay_us", self.delay_us, 0, 10_000_000)
        one_of(self.kind, "stream", self.stream, STREAMS)

    def toxic(self) -> Toxic:
        """Toxiproxy's `slicer`; sizes in bytes, delay in microseconds."""
        sizes = {"average_size": self.average_size_bytes, "delay": self.delay_us}
        return self._toxic(self.stream, {**sizes, "size_variation": self.size_variation_bytes})

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations took twice as long, or half of them were not answered.

        Pieces without a pause between them are put together again by the receiver's kernel before
        anybody could tell: then only a reader that breaks on short reads shows it.
        """
        return either(slowed(before, during), starved(before, during))


@dataclass(frozen=True, slots=True)
class LimitData(_OneToxic):
    """Closes each connection once `bytes` have passed through it, counted from the injection on."""

    bytes: int
    stream: Stream = "downstream"
    kind: ClassVar[str] = "limit_data"

    def __post_init__(self) -> None:
        within(self.kind, "bytes", self.bytes, 1, 1_000_000_000)
        one_of(self.kind, "stream", self.stream, STREAMS)

    def toxic(self) -> Toxic:
        """Toxiproxy's `limit_data`."""
        return self._toxic(self.stream, {"bytes": self.bytes})

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when a twentieth of the operations was lost: each cut costs only a few."""
        return starved(before, during, to=0.95)


@dataclass(frozen=True, slots=True)
class Timeout(_OneToxic):
    """Lets nothing pass, and closes each connection after `timeout_ms` of that silence.

    `partition` is the silence that nobody ends. The heal closes the connections that are silent.
    """

    timeout_ms: int
    stream: Stream = "downstream"
    kind: ClassVar[str] = "timeout"

    def __post_init__(self) -> None:
        within(self.kind, "timeout_ms", self.timeout_ms, 1, MS_MAX)
        one_of(self.kind, "stream", self.stream, STREAMS)

    def toxic(self) -> Toxic:
        """Toxiproxy's `timeout`; 0 would be forever."""
        return self._toxic(self.stream, {"timeout": self.timeout_ms})

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when half of those that were answered before are not any more."""
        return starved(before, during)


@dataclass(frozen=True, slots=True)
class ResetPeer(_OneToxic):
    """Breaks each connection off with a TCP reset, `timeout_ms` after the server's next words.

    New connections are accepted and suffer the same.
    """

    timeout_ms: int = 0
    kind: ClassVar[str] = "reset_peer"

    def __post_init__(self) -> None:
        within(self.kind, "timeout_ms", self.timeout_ms, 0, MS_MAX)

    def toxic(self) -> Toxic:
        """Toxiproxy's `reset_peer`."""
        return self._toxic("downstream", {"timeout": self.timeout_ms})

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when half of those that were answered before are not any more."""
        return starved(before, during)


@dataclass(frozen=True, slots=True)
class SlowClose(_OneToxic):
    """Keeps each connection open for `delay_ms` longer than the server did."""

    delay_ms: int
    kind: ClassVar[str] = "slow_close"

    def __post_init__(self) -> None:
        within(self.kind, "delay_ms", self.delay_ms, 1, MS_MAX)

    def toxic(self) -> Toxic:
        """Toxiproxy's `slow_close`."""
        return self._toxic("downstream", {"delay": self.delay_ms})

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed only by lost operations: when a connection closes is in no operation."""
        seen = starved(before, during, to=0.95)
        how = f"{seen.how}; traffic alone does not show when connections close"
        return Effect(seen.bit, how, seen.observed)
