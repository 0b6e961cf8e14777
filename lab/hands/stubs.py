"""Services that stand in for others and can be told to fail (`x-lab.stubs`)."""

from __future__ import annotations

from typing import Protocol


class Stubs(Protocol):
    """Stubs by service name."""

    async def fail(self, service: str, status: int) -> None:
        """Let it answer everything with this HTTP status. Raises UsageError where it cannot."""
        ...

    async def mend(self, service: str) -> None:
        """Let it answer as ever; one that does is fine."""
        ...
