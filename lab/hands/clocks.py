"""The time of day inside services, where the stack was fitted with clocks of their own."""

from __future__ import annotations

from typing import Protocol


class Clocks(Protocol):
    """Clocks by the service that has one (`x-lab.clocks`). The host's own is never touched."""

    async def skew(self, service: str, offset_seconds: float) -> None:
        """Let the service's processes read a time of day that is this much ahead; 0 is true."""
        ...

    async def offset_seconds(self, service: str) -> float:
        """How far ahead a process inside the service reads the time of day to be, right now."""
        ...

    async def heeded(self, service: str) -> bool:
        """Whether the service's own processes ask the clock, and not only one that looks."""
        ...
