"""Faults on a link: what the wire does to those who talk over it (Toxiproxy, toxicity always 1.0).

Toxicity below one is drawn again at every toxic change and cannot be seeded (Shopify/toxiproxy, PR
610), so randomness belongs to the schedule, never to the toxic. Open connections feel every fault
here: a toxic acts on the links that exist as well as on new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar, Literal

from lab.errors import UsageError
from lab.fault import Effect, Lab, Toxic, Window
from lab.history import Op, Outcome

OPS_MIN = 10
"""Fewer operations than this say nothing about a cut."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Delays what passes: `delay_ms` +- `jitter_ms`, on the way back (`downstream`) or out."""

    link: str
    delay_ms: int
    jitter_ms: int = 0
    stream: Literal["downstream", "upstream"] = "downstream"
    kind: ClassVar[str] = "latency"

    def __post_init__(self) -> None:
        if not 0 < self.delay_ms <= 60_000 or not 0 <= self.jitter_ms <= self.delay_ms:
            raise UsageError(
                f"delay_ms={self.delay_ms}, jitter_ms={self.jitter_ms} cannot be",
                where="latency",
                mend="delay_ms is 1 to 60000 and jitter_ms at most delay_ms",
            )

    @property
    def target(self) -> str:
        """The link that is delayed."""
        return f"link {self.link}"

    async def inject(self, lab: Lab) -> None:
        """Add the toxic; it acts on open connections too."""
        attributes = {"latency": self.delay_ms, "jitter": self.jitter_ms}
        await lab.links.add(self.link, Toxic(self.kind, self.kind, self.stream, attributes))

    async def heal(self, lab: Lab) -> None:
        """Take the toxic off."""
        await lab.links.remove(self.link, self.kind)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations that crossed the link took at least half the delay longer.

        Not every operation crosses every link, so upper quartiles are compared: at least a quarter
        of the operations must have felt it.
        """
        calm, slowed = _quartile_ms(before.ops), _quartile_ms(during.ops)
        observed = {"calm_p75_ms": calm, "slowed_p75_ms": slowed}
        bit = slowed - calm >= 0.5 * (self.delay_ms - self.jitter_ms)
        how = f"p75 of operations {calm:.1f} -> {slowed:.1f} ms, asked for +{self.delay_ms} ms"
        return Effect(bit, how, observed)


@dataclass(frozen=True, slots=True)
class Partition:
    """Nothing passes any more, and nobody is told: no reset, no refusal, only silence.

    direction: `both` ways, only `to` the server, or only `from` it. New connections are accepted by
    the proxy and stay silent too. On heal the silent connections are closed (Toxiproxy's `timeout`
    cannot keep them half-open), which the clients see as a reset.
    """

    link: str
    direction: Literal["both", "to", "from"] = "both"
    kind: ClassVar[str] = "partition"

    def __post_init__(self) -> None:
        if self.direction not in {"both", "to", "from"}:
            raise UsageError(
                f"direction={self.direction!r} cannot be",
                where="partition",
                mend="both, to or from",
            )

    @property
    def target(self) -> str:
        """The link that is cut."""
        return f"link {self.link}"

    @property
    def _toxics(self) -> tuple[Toxic, ...]:
        streams = {"both": ("upstream", "downstream"), "to": ("upstream",), "from": ("downstream",)}
        return tuple(
            Toxic(f"partition-{stream}", "timeout", stream, {"timeout": 0})
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
        """Confirmed when what needs the link stopped being answered; see `_starved`."""
        return _starved(before, during)


@dataclass(frozen=True, slots=True)
class Down:
    """The server is gone: open connections are closed and new ones refused."""

    link: str
    kind: ClassVar[str] = "down"

    @property
    def target(self) -> str:
        """The link whose server seems to be gone."""
        return f"link {self.link}"

    async def inject(self, lab: Lab) -> None:
        """Disable the proxy."""
        await lab.links.enable(self.link, enabled=False)

    async def heal(self, lab: Lab) -> None:
        """Enable the proxy; one that is enabled stays so."""
        await lab.links.enable(self.link, enabled=True)

    def effect(self, before: Window, during: Window) -> Effect:
        """As for a partition: those who need the server are not answered any more."""
        return _starved(before, during)


def _starved(before: Window, during: Window) -> Effect:
    """Confirmed when the share of answered operations fell to at most half of what it was.

    Traffic is the witness because Toxiproxy counts a connection's bytes only when it ends. A system
    that answers without the link has not felt the cut, and nothing may be concluded from it.
    """
    calm, cut = _answered(before.ops), _answered(during.ops)
    how = f"{calm:.0%} -> {cut:.0%} of {len(during.ops)} operations answered"
    bit = len(during.ops) >= OPS_MIN and calm > 0 and cut <= calm / 2
    return Effect(bit, how, {"calm_answered_share": calm, "cut_answered_share": cut})


def _answered(ops: Sequence[Op]) -> float:
    """The share of operations that were answered; 0 of 0 is 0."""
    return sum(op.outcome is Outcome.OK for op in ops) / len(ops) if ops else 0.0


def _quartile_ms(ops: Sequence[Op]) -> float:
    """The upper quartile of the latencies of what was answered; 0 when nothing was."""
    times = sorted(op.latency_ms for op in ops if op.outcome is Outcome.OK)
    return median(times[len(times) // 2 :]) if times else 0.0
