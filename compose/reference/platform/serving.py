"""uvicorn, set up the one way that all services share."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Generator

import uvicorn
import uvloop

from . import log

WS_MAX_BYTES = 64 * 1024


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers, so that draining is ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


def server(app: Callable[..., Awaitable[None]], port: int) -> QuietServer:
    """A server on all addresses of the container; networks decide who gets there."""
    return QuietServer(
        uvicorn.Config(
            app,
            host="0.0.0.0",
            port=port,
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=WS_MAX_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            reset_contextvars=True,
            access_log=False,
            log_config=None,
            lifespan="off",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    )


async def serve(*servers: QuietServer, drain: Callable[[], Awaitable[None]] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain, then stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = [asyncio.ensure_future(s.serve()) for s in servers]
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
    if drain is not None:
        await drain()
    for each in servers:
        each.should_exit = True
    await asyncio.gather(*running)


def run_main(main: Coroutine[None, None, None]) -> None:
    """Run a service's main coroutine on uvloop."""
    log.take_over_libraries()
    uvloop.run(main)
