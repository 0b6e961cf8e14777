"""Work that the lab starts inside a service's container, within the service's own limits."""

from __future__ import annotations

from typing import Protocol


class Burdens(Protocol):
    """Processes beside a service's own, known by a mark in their command line."""

    async def put(
        self, service: str, mark: str, script: str, *words: str, stopped: bool = False
    ) -> None:
        """Start `sh -c script mark words...` inside; returns once it is seen there.

        One with this mark that is there already stays the only one. stopped: the script stops
        itself (SIGSTOP) when its work is done, and that is waited for.
        """
        ...

    async def lift(self, service: str, *marks: str) -> None:
        """End every process with one of these marks; none, or a service that is down, is fine."""
        ...

    async def exhaust(self, service: str, mark: str, script: str) -> None:
        """Start a script that grows without end; the service's main process is the first to die.

        Returns once the service has ended, or the script has: the kernel has the last word.
        """
        ...

    async def spare(self, service: str) -> None:
        """The service's main process is no longer the first to die; as it already is is fine."""
        ...
