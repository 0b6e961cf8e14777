"""The smallest multi-tenant backend: JSON over one WebSocket, a tenant's keys in one Redis hash."""

import asyncio
import contextlib
import hmac
import json
import os
import time
from http import HTTPStatus

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

KEY = os.environ["APP_KEY"].encode()
POOL = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_connections": 8, "timeout": 1}
SOCKET = {"compression": None, "max_size": 65536, "ping_interval": 20, "ping_timeout": 20}


def admit(socket: ServerConnection, request: Request) -> Response | None:
    """Let in who shows `<tenant>.<HMAC of the tenant>`; the health check needs no token."""
    if request.path == "/health":
        return socket.respond(HTTPStatus.OK, "ok\n")
    socket.tenant, _, proof = request.headers.get("Authorization", "")[7:].rpartition(".")
    if not hmac.compare_digest(proof, hmac.digest(KEY, socket.tenant.encode(), "sha256").hex()):
        return socket.respond(HTTPStatus.UNAUTHORIZED, "not a token of this system\n")


async def perform(redis: Redis, own: str, asked: dict) -> object:
    """Do one request of the tenant whose hash is `own`."""
    match asked:
        case {"do": "write", "key": str(key), "value": str(value)}:
            return await redis.hset(own, key, value)
        case {"do": "read", "key": str(key)}:
            return await redis.hget(own, key)
        case {"do": "list"}:
            return await redis.hgetall(own)
        case {"do": "work", "ms": int(ms)}:
            until = time.thread_time() + ms / 1000
            while time.thread_time() < until:
                pass  # on the only event loop: nobody else is served meanwhile
        case _:
            raise ValueError("no such request")


async def answer(socket: ServerConnection, redis: Redis, text: str) -> None:
    """Answer one message: a result, a definite refusal, or an error that leaves it open."""
    asked = {}
    try:
        asked = dict(json.loads(text))
        reply = {"result": await perform(redis, f"tenant:{socket.tenant}", asked)}
    except (ValueError, TypeError) as refusal:
        reply = {"refused": str(refusal)}
    except RedisError as error:
        reply = {"error": str(error)}
    with contextlib.suppress(ConnectionClosed):
        await socket.send(json.dumps({"id": asked.get("id")} | reply))


async def converse(socket: ServerConnection) -> None:
    """Serve one socket; its Redis connections carry its tenant's name and end with it."""
    mine = {"client_name": socket.tenant, "decode_responses": True, "retry": Retry(NoBackoff(), 0)}
    pool = BlockingConnectionPool(host="redis", **POOL, **mine)
    async with Redis.from_pool(pool) as redis, asyncio.TaskGroup() as answers:
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                answers.create_task(answer(socket, redis, text))


async def main() -> None:
    """Serve until told to stop."""
    async with serve(converse, "0.0.0.0", 8000, process_request=admit, **SOCKET) as server:
        await server.serve_forever()


asyncio.run(main())
