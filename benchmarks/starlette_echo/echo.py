"""An echo and nothing else, with the platform's own server settings."""

from __future__ import annotations

from reference_platform import serving  # pyright: ignore[reportMissingImports] - in the container
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


async def echo(socket: WebSocket) -> None:
    """Send back what comes."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return


async def health(request: Request) -> JSONResponse:
    """Alive."""
    return JSONResponse({"status": "ok"})


app = Starlette(routes=[WebSocketRoute("/", echo), Route("/health", health)])
if __name__ == "__main__":
    serving.run_main(serving.serve(serving.server(app, 8000)))
