"""Whether this host really gets through to a service behind a proxy."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import (
    BrokenResourceError,
    EndOfStream,
    connect_tcp,
    create_task_group,
    move_on_after,
    sleep,
)

from lab.errors import LabError
from lab.system import Endpoint

REFUSAL_SECONDS = 0.05
"""Toxiproxy accepts first and dials then: a way that leads nowhere is closed well within this."""

_PAUSE_SECONDS = 0.02


async def reach(endpoints: Sequence[Endpoint]) -> None:
    """Wait until every endpoint leads all the way; the caller sets the deadline."""
    async with create_task_group() as tasks:
        for endpoint in endpoints:
            tasks.start_soon(_until_open, endpoint)


async def _until_open(endpoint: Endpoint) -> None:
    while not await leads_through(endpoint):  # noqa: ASYNC110 - nobody tells when it opens
        await sleep(_PAUSE_SECONDS)


async def leads_through(endpoint: Endpoint, seconds: float = REFUSAL_SECONDS) -> bool:
    """Whether a connection is accepted and stays open for `seconds`."""
    try:
        async with await connect_tcp(endpoint.host, endpoint.port) as stream:
            with move_on_after(seconds):
                await stream.receive(1)  # a server may greet; an end raises
            return True
    except (OSError, EndOfStream, BrokenResourceError):
        return False


def dead_end(way: str) -> LabError:
    """What to tell of a way in behind which nobody answers."""
    mend = "does the service listen on this port, and on 0.0.0.0?"
    return LabError("nobody answers behind it", where=way, mend=mend)
