"""A yardstick: a server that answers, at once or after a wait, and the driver for it.

All that comes on top of the wait is the host's own doing.

`python -m lab.echo` serves on a free port of 127.0.0.1, prints it, and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from random import Random

from websockets.asyncio.server import ServerConnection, serve

from lab.actions import Action, Read, Step, Work
from lab.system import Census, Driver, Reply, Session, Site, Tenant, TenantPlan
from lab.transport import Line

PADDING = "x" * 96
"""Messages of about 128 characters, as a short chat line has."""


class EchoSession:
    """Finds the operation's id in front of what comes back."""

    def __init__(self, line: Line[str]) -> None:
        self._line = line
        self.overheard, self.close, self.abort = line.overheard, line.close, line.abort

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """See Session."""
        wait_ms = action.amount_ms if isinstance(action, Work) else 0
        text = f"{op} {wait_ms} {PADDING}"
        return Reply(raw=await self._line.ask(op, text, deadline_seconds))


class EchoDriver:
    """The driver."""

    actions: frozenset[type[Action]] = frozenset({Read, Work})

    def __init__(self, site: Site) -> None:
        self._site = site

    async def connect(self, tenant: Tenant) -> Session:
        """See Driver."""
        url = f"ws://{self._site.entrance('client')}"
        return EchoSession(await Line(_read).open(url))

    async def provision(self, plan: TenantPlan) -> Sequence[Tenant]:
        """See Driver."""
        return [Tenant(name, name, cohort) for name, cohort in plan.cohorts.items()]

    async def retire(self, tenants: Sequence[Tenant]) -> None:
        """Nothing is left."""

    async def census(self) -> Census:
        """See Driver."""
        return {}

    async def close(self) -> None:
        """Holds nothing."""


def _read(text: str) -> tuple[str, str]:
    return text.partition(" ")[0], text


def reads(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Reads without end."""
    while True:
        yield Read("note")


def waits(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Work that takes 4 ms in the median and 8 at the p95, as a service before a store does."""
    while True:
        yield Work("wait", round(rng.lognormvariate(1.4, 0.4)))


def driver(site: Site) -> Driver:
    """As in a stack file."""
    return EchoDriver(site)


async def serving() -> None:
    """The server, until stdin ends."""

    async def answered(connection: ServerConnection, text: str | bytes) -> None:
        await asyncio.sleep(int(text.split()[1]) / 1e3)
        await connection.send(text)

    async def echoed(connection: ServerConnection) -> None:
        async with asyncio.TaskGroup() as answers:
            async for text in connection:
                answers.create_task(answered(connection, text))

    async with serve(echoed, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        sys.stdout.write(f"{next(iter(server.sockets)).getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serving())
