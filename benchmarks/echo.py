"""What benchmarks/load.py plays: a trivial echo server's driver, and a tenant that reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lab.actions import Action, Read, Step
from lab.system import Census, Driver, Reply, Session, Site, Tenant, TenantPlan

PADDING = "x" * 96
"""Messages of about 128 characters, as a short chat line has."""


class EchoSession:
    """Finds the operation's id in front of what comes back."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._reader = asyncio.create_task(self._read())

    async def perform(self, action: Action, *, op: str, deadline_seconds: float) -> Reply:
        """See Session."""
        answer = self._waiting[op] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._connection.send(f"{op} {PADDING}")
                return Reply(raw=await answer)
        finally:
            del self._waiting[op]

    def overheard(self) -> Sequence[str]:
        """An echo answers nothing that was not asked."""
        return ()

    async def close(self) -> None:
        """See Session."""
        await self._connection.close()
        await self._reader

    def abort(self) -> None:
        """See Session."""
        self._connection.transport.abort()

    async def _read(self) -> None:
        try:
            while True:
                text = await self._connection.recv(decode=True)
                waiting = self._waiting.get(text.partition(" ")[0])
                if waiting is not None and not waiting.done():
                    waiting.set_result(text)
        except ConnectionClosed:
            return


class EchoDriver:
    """The driver."""

    actions: frozenset[type[Action]] = frozenset({Read})

    def __init__(self, site: Site) -> None:
        self._site = site

    async def connect(self, tenant: Tenant) -> Session:
        """See Driver."""
        return EchoSession(await opened(f"ws://{self._site.entrance('client')}"))

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


async def opened(uri: str) -> ClientConnection:
    """A connection as every tenant has it."""
    return await connect(uri, compression=None, proxy=None, ping_interval=None)


def reads(tenant: Tenant, rng: Random) -> Iterator[Step]:
    """Reads without end."""
    while True:
        yield Read("note")


def driver(site: Site) -> Driver:
    """As in a stack file."""
    return EchoDriver(site)
