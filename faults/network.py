"""Faults on a link: what the wire does to those who talk over it (Toxiproxy, toxicity always 1.0).

Toxicity below one is drawn again at every toxic change and cannot be seeded (Shopify/toxiproxy, PR
610), so randomness belongs to the schedule, never to the toxic. Open connections feel every fault
here: a toxic acts on the links that exist as well as on new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from faults.checks import STREAMS, one_of, within
from faults.effects import slowed, starved
from faults.marks import mark
from faults.targets import OnLink
from lab.fault import Effect, Window
from lab.hands import Lab, Toxic


@dataclass(frozen=True, slots=True)
class Latency(OnLink):
    """Delays what passes: `delay_ms` +- `jitter_ms`, on the way back (`downstream`) or out."""

    delay_ms: int
    jitter_ms: int = 0
    stream: Literal["downstream", "upstream"] = "downstream"
    kind: ClassVar[str] = "latency"

    def __post_init__(self) -> None:
        within(self.kind, "delay_ms", self.delay_ms, 1, 60_000)
        within(self.kind, "jitter_ms", self.jitter_ms, 0, self.delay_ms)
        one_of(self.kind, "stream", self.stream, STREAMS)

    async def inject(self, lab: Lab) -> None:
        """Add the toxic; it acts on open connections too."""
        attributes = {"latency": self.delay_ms, "jitter": self.jitter_ms}
        await lab.links.add(self.link, Toxic(mark(self), "latency", self.stream, attributes))

    async def heal(self, lab: Lab) -> None:
        """Take the toxic off."""
        await lab.links.remove(self.link, mark(self))

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations that crossed the link took at least half the delay longer."""
        seen = slowed(before, during, 0.5 * (self.delay_ms - self.jitter_ms))
        how = f"{seen.how}, asked for +{self.delay_ms} ms"
        return Effect(seen.bit, how, seen.observed)


@dataclass(frozen=True, slots=True)
class Partition(OnLink):
    """Nothing passes any more, and nobody is told: no reset, no refusal, only silence.

    direction: `both` ways, only `to` the server, or only `from` it. New connections are accepted by
    the proxy and stay silent too. On heal the silent connections are closed (Toxiproxy's `timeout`
    cannot keep them half-open), which the clients see as a reset; `isolate` lets them go on.
    """

    direction: Literal["both", "to", "from"] = "both"
    kind: ClassVar[str] = "partition"

    def __post_init__(self) -> None:
        one_of(self.kind, "direction", self.direction, ("both", "to", "from"))

    @property
    def _toxics(self) -> tuple[Toxic, ...]:
        streams = {"both": ("upstream", "downstream"), "to": ("upstream",), "from": ("downstream",)}
        return tuple(
            Toxic(f"{mark(self)}-{stream}", "timeout", stream, {"timeout": 0})
            for stream in streams[self.direction]
        )

    async def inject(self, lab: Lab) -> None:
        """Silence each direction in turn."""
        for toxic in self._toxics:
            await lab.links.add(self.link, toxic)

    async def heal(self, lab: Lab) -> None:
        """Let traffic pass again; both removals are tried even when one of them is not needed."""
        for toxic in self._toxics:
            await lab.links.remove(self.link, toxic.name)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when what needs the link stopped being answered; see `starved`."""
        return starved(before, during)


@dataclass(frozen=True, slots=True)
class Down(OnLink):
    """The server is gone: open connections are closed and new ones refused."""

    kind: ClassVar[str] = "down"

    async def inject(self, lab: Lab) -> None:
        """Disable the proxy."""
        await lab.links.enable(self.link, enabled=False)

    async def heal(self, lab: Lab) -> None:
        """Enable the proxy; one that is enabled stays so."""
        await lab.links.enable(self.link, enabled=True)

    def effect(self, before: Window, during: Window) -> Effect:
        """As for a partition: those who need the server are not answered any more."""
        return starved(before, during)
