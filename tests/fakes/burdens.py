"""In-memory burdens: marks by service."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.errors import LabError
from lab.hands import Containers


@dataclass
class FakeBurdens:
    """Marks that stand for processes, in the fake containers that run."""

    containers: Containers
    marks: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    async def put(
        self, service: str, mark: str, script: str, *words: str, stopped: bool = False
    ) -> None:
        """As the real one."""
        if not (await self.containers.state(service)).running:
            raise LabError("the burden did not start", where=f"service {service}")
        self.marks.setdefault(service, set()).add(mark)

    async def lift(self, service: str, *marks: str) -> None:
        """As the real one."""
        await self.containers.state(service)
        self.marks.get(service, set()).difference_update(marks)

    async def exhaust(self, service: str, mark: str, script: str) -> None:
        """As the real one, when the kernel picks the service: what grew goes with it."""
        await self.put(service, mark, script)
        self.marks.pop(service)
        await self.containers.stop(service)

    async def spare(self, service: str) -> None:
        """As the real one."""
        await self.containers.state(service)

    def there(self) -> set[tuple[str, str]]:
        """Every mark, with its service."""
        return {(service, mark) for service, marks in self.marks.items() for mark in marks}
