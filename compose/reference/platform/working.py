"""Work: a query in the database, which is charged with what the server says that it took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import asyncpg

from .memory import State
from .messages import Work
from .problems import Problem

if TYPE_CHECKING:
    from .turn import Turn

BURN = """
SELECT burned, extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000 AS cost_ms
FROM (SELECT sum(sqrt(n)) AS burned FROM generate_series(1, $1::bigint) AS n OFFSET 0) AS work
"""
ROWS_PER_MS = 9000
"""How many rows the burning query gets through in a millisecond, roughly."""


async def query(turn: Turn, action: Work, state: State) -> str | None:
    """Query work of `amount_ms`; the agent's tools do all other kinds."""
    if action.work != "query":
        return None
    admission, amount_ms, began = turn.rooms.admission, action.amount_ms, time.monotonic()
    admission.begin(turn.tally, "database", amount_ms, began)
    cost_ms = 0.0
    try:
        async with turn.database.tenant_tx(turn.tenant, turn.until, cost_ms=amount_ms) as tx:
            began = time.monotonic()
            try:
                row = await tx.fetchrow(BURN, amount_ms * ROWS_PER_MS)
                cost_ms = float(row["cost_ms"])
            except BaseException:
                cost_ms = (time.monotonic() - began) * 1000
                raise
    except asyncpg.QueryCanceledError:
        raise Problem("deadline") from None
    finally:
        admission.settle(turn.tally, "database", amount_ms, cost_ms)
    return f"{cost_ms:.1f} ms of query"
