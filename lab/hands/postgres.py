"""The run's own Postgres, as its administrator sees it from inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Postgres(Protocol):
    """Sessions of the lab's own beside the system's, settings of the whole server, counters.

    What is held is held under a name, by a process inside the container which undoes it when it is
    released, by whatever process, and when the lab is gone.
    """

    async def hold(self, name: str, script: str, until: str, sessions: int = 1) -> None:
        r"""Hold sessions called `name` that run `script` again and again, for an hour at most.

        script: in pgbench's words, so `\sleep 9 s` keeps a transaction open. Returns when as many
        sessions fulfil `until`, a condition on pg_stat_activity. Raises LabError when they do not
        in 5 s, and UsageError for a system without an own Postgres.
        """
        ...

    async def configure(self, name: str, setting: str, value: str) -> None:
        """Hold a setting of the whole server, also in sessions that are open; read back."""
        ...

    async def release(self, name: str, settings: Mapping[str, str] = {}) -> None:
        """End what is held under `name`; nothing is fine.

        settings: that were configured; those that still have this value by ALTER SYSTEM are reset
        and read back. Raises LabError when they cannot be, as on a server that is down.
        """
        ...

    async def figures(self, sql: str) -> Mapping[str, float]:
        """The rows of a query with two columns, name and number; none while it does not run."""
        ...

    async def rows_of(self, tenant: str) -> str:
        """A condition that is true for the rows of the tenant with this id, whichever the table."""
        ...

    async def sessions_of(self, tenant: str) -> str:
        """A condition on pg_stat_activity, true for what the system does for this tenant."""
        ...

    async def note(self, name: str, amount: float) -> None:
        """Count something that no server counts; `noted` tells it, in this process."""
        ...

    async def noted(self, name: str) -> float:
        """What was noted so far; 0 when nothing was."""
        ...
