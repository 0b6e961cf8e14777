"""The relay: hands each event in the outbox to its consumer, at least once, and in order.

Events are read, delivered and marked in three transactions, for a consumer is another system; what
is lost between them is delivered again, and the consumer drops what it knows. Every transaction is
the tenant's own, so that no role has to see all tenants; what a crash left behind goes out with
the tenant's next event.
"""

from __future__ import annotations

import asyncio

import asyncpg

from . import upkeep
from .defects import planted
from .pool import PlainConnection
from .problems import Problem
from .tenant_tx import Database

WAITING = """
SELECT message_id, kind FROM outbox WHERE tenant_id = $1 AND relayed_at IS NULL
ORDER BY seq LIMIT 200
"""
RELAYED = """
UPDATE outbox SET relayed_at = now() WHERE tenant_id = $1 AND message_id = ANY($2)
"""
COUNT = """
WITH event AS (
  SELECT * FROM unnest($2::text[], $3::text[]) AS event (message_id, kind)),
fresh AS (
  INSERT INTO deliveries (tenant_id, message_id) SELECT $1, message_id FROM event
  ON CONFLICT DO NOTHING RETURNING message_id)
INSERT INTO usage (tenant_id, kind, count)
SELECT $1, kind, count(*) FROM event {deduplicated} GROUP BY kind ORDER BY kind
ON CONFLICT (tenant_id, kind) DO UPDATE SET count = usage.count + excluded.count
"""
COUNT_ONCE = COUNT.format(deduplicated="JOIN fresh USING (message_id)")
COUNT_AGAIN = COUNT.format(deduplicated="")
PAUSE_SECONDS, TRY_SECONDS = 0.5, 2.0


class Usage:
    """The consumer: counts what each tenant has done, by kind."""

    @staticmethod
    async def receive(tx: PlainConnection, tenant: str, ids: list[str], kinds: list[str]) -> None:
        """Take in events, those it knows already without effect."""
        counting = COUNT_AGAIN if planted("redelivery_without_dedupe") else COUNT_ONCE
        await tx.execute(counting, tenant, ids, kinds)


class Relay:
    """Wakes for tenants that have done something, and rests between rounds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tenants: set[str] = set()
        self._woken = asyncio.Event()

    def wake(self, tenant: str) -> None:
        """The tenant has an event in its outbox."""
        self._tenants.add(tenant)
        self._woken.set()

    async def run(self) -> None:
        """Relay for ever."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(PAUSE_SECONDS)  # many events share a round
            tenants, self._tenants = self._tenants, set()
            self._woken.clear()
            await upkeep.each(tenants, self._relayed)

    async def _relayed(self, tenant: str) -> None:
        try:
            await self._drained(tenant)
        except (Problem, asyncpg.PostgresError, TimeoutError):
            self.wake(tenant)  # the events are still there
        except Exception:
            self.wake(tenant)
            raise

    async def _drained(self, tenant: str) -> None:
        until = asyncio.get_running_loop().time() + TRY_SECONDS
        async with asyncio.timeout_at(until):
            async with self._database.tenant_tx(tenant, until) as tx:
                events = await tx.fetch(WAITING, tenant)
            if not events:
                return
            ids, kinds = [event["message_id"] for event in events], [e["kind"] for e in events]
            async with self._database.tenant_tx(tenant, until, writes=True) as tx:
                await Usage.receive(tx, tenant, ids, kinds)
            async with self._database.tenant_tx(tenant, until, writes=True) as tx:
                await tx.execute(RELAYED, tenant, ids)
        if len(events) == 200:
            self.wake(tenant)
