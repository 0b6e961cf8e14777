"""A way that is accepted and then closed leads nowhere."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import SocketStream

from lab.stack.reach import leads_through
from lab.system import Endpoint


@pytest.mark.parametrize("closes", [True, False])
def test_a_connection_that_is_closed_at_once_leads_nowhere(closes: bool) -> None:
    async def handle(stream: SocketStream) -> None:
        async with stream:
            if not closes:
                await anyio.sleep_forever()

    async def story() -> bool:
        found = False
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            found = await leads_through(Endpoint("127.0.0.1", port))
            tasks.cancel_scope.cancel()
        return found

    assert anyio.run(story) is not closes


def test_a_port_where_nobody_listens_leads_nowhere() -> None:
    async def story() -> bool:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        await listener.aclose()
        return await leads_through(Endpoint("127.0.0.1", port))

    assert anyio.run(story) is False
