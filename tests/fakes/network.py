"""In-memory network namespaces: drops, rate limits and cables by service."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.errors import UsageError
from lab.hands import Counts, Drop, Shape, Shaped


@dataclass
class FakeNetworks:
    """Namespaces of two services that remember what was done to them; counters stand still."""

    services: tuple[str, ...] = ("app", "redis")
    drops: dict[tuple[str, str], Drop] = field(default_factory=dict[tuple[str, str], Drop])
    shapes: dict[tuple[str, str], Shape] = field(default_factory=dict[tuple[str, str], Shape])
    unplugged: set[str] = field(default_factory=set[str])
    forgotten: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    counted: Counts = field(default_factory=lambda: Counts(0, 0))

    def _known(self, service: str) -> None:
        if service not in self.services:
            raise UsageError(f"no service `{service}`")

    async def drop(self, drop: Drop) -> None:
        """As the real one: one of the same name is replaced."""
        self._known(drop.service)
        self.drops[drop.service, drop.name] = drop

    async def undrop(self, service: str, name: str) -> None:
        """As the real one: none is fine."""
        self._known(service)
        self.drops.pop((service, name), None)

    async def forget(self, service: str, name: str) -> None:
        """Only connections that a drop holds can be forgotten."""
        self._known(service)
        if (service, name) in self.drops:
            self.forgotten.append((service, name))

    async def counts(self, service: str, name: str) -> Counts:
        """What a test said it is."""
        self._known(service)
        return self.counted

    async def shape(self, shape: Shape) -> None:
        """As the real one."""
        self._known(shape.service)
        self.shapes[shape.service, shape.name] = shape

    async def unshape(self, service: str, name: str) -> None:
        """As the real one: none is fine."""
        self._known(service)
        self.shapes.pop((service, name), None)

    async def shaped(self, service: str, name: str) -> Shaped:
        """It never moves."""
        self._known(service)
        return Shaped(0, 0)

    async def disconnect(self, service: str) -> None:
        """As the real one: out already is fine."""
        self._known(service)
        self.unplugged.add(service)

    async def connect(self, service: str) -> None:
        """As the real one: in already is fine."""
        self._known(service)
        self.unplugged.discard(service)

    @property
    def state(self) -> dict[str, object]:
        """All that a heal has to restore."""
        return {
            "drops": dict(self.drops),
            "shapes": dict(self.shapes),
            "unplugged": set(self.unplugged),
        }
