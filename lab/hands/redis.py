"""The run's own Redis, as its administrator sees it from inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Redis(Protocol):
    """Commands once, commands again and again, settings, counters; held as in `Postgres`."""

    async def call(self, *words: str) -> str:
        """One command; its reply as redis-cli prints it. Raises LabError for an error."""
        ...

    async def repeat(self, name: str, every_ms: int, *words: str) -> None:
        """Hold one connection that gives a command every so many milliseconds."""
        ...

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        """Hold settings of the server (CONFIG SET); read back. What they were comes back."""
        ...

    async def release(self, name: str) -> None:
        """End what is held under `name`, and wait until Redis answers; nothing is fine."""
        ...

    async def figures(self) -> Mapping[str, float]:
        """Every number of INFO, as in `evicted_keys` or `cmdstat_get.calls`; none while down."""
        ...

    async def keys_of(self, tenant: str) -> str:
        """A pattern of KEYS that matches what the tenant with this id has."""
        ...
