"""The distance between two regions on a link, as somebody measured it.

Round trips in milliseconds. Between regions of a large provider: the means that CloudPing publishes
(cloudping.co, the matrix of one day in 2025), rounded; between two zones of one region: Painter,
"Exploring Azure Network Latency: The Fundamentals" (2025), 1.6 ms rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from faults.checks import one_of
from faults.effects import slowed
from faults.marks import mark
from faults.targets import OnLink
from lab.fault import Effect, Window
from lab.hands import Lab, Toxic

ROUND_TRIP_MS: Mapping[str, int] = {
    "zone-zone": 2,
    "hongkong-singapore": 34,
    "hongkong-tokyo": 53,
    "hongkong-mumbai": 94,
    "hongkong-oregon": 146,
    "capetown-ireland": 157,
    "hongkong-virginia": 202,
    "capetown-virginia": 227,
    "hongkong-ireland": 258,
    "capetown-saopaulo": 337,
}
PROFILES = tuple(ROUND_TRIP_MS)


@dataclass(frozen=True, slots=True)
class Region(OnLink):
    """Puts the two ends of a link into two places: half the round trip out, half of it back."""

    profile: str
    kind: ClassVar[str] = "region"

    def __post_init__(self) -> None:
        one_of(self.kind, "profile", self.profile, PROFILES)

    @property
    def toxics(self) -> tuple[Toxic, Toxic]:
        """Toxiproxy's `latency` in both directions."""
        round_trip_ms = ROUND_TRIP_MS[self.profile]
        out_ms = round_trip_ms // 2
        return (
            self._toxic("upstream", out_ms),
            self._toxic("downstream", round_trip_ms - out_ms),
        )

    def _toxic(self, stream: str, delay_ms: int) -> Toxic:
        return Toxic(f"{mark(self)}-{stream}", "latency", stream, {"latency": delay_ms})

    async def inject(self, lab: Lab) -> None:
        """Delay each direction; open connections feel it too."""
        for toxic in self.toxics:
            await lab.links.add(self.link, toxic)

    async def heal(self, lab: Lab) -> None:
        """Take both delays off."""
        for toxic in self.toxics:
            await lab.links.remove(self.link, toxic.name)

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when operations that crossed the link took half the round trip longer."""
        asked_ms = ROUND_TRIP_MS[self.profile]
        seen = slowed(before, during, 0.5 * asked_ms)
        return Effect(seen.bit, f"{seen.how}, {asked_ms} ms are between them", seen.observed)
