"""The smallest multi-tenant backend: JSON over one WebSocket, a tenant's keys in one Redis hash."""

import asyncio
import hmac
import json
import os
import time

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from websockets.asyncio.server import ServerConnection, serve

KEY = os.environ["APP_KEY"].encode()
REDIS = {
    "host": "redis",
    "decode_responses": True,
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
}


async def perform(redis: Redis, own: str, asked: dict) -> object:
    match asked:
        case {"do": "write", "key": str(key), "value": str(value)}:
            return await redis.hset(own, key, value)
        case {"do": "read", "key": str(key)}:
            return await redis.hget(own, key)
        case {"do": "list"}:
            return await redis.hgetall(own)
        case {"do": "work", "ms": int(ms)}:
            time.sleep(ms / 1000)  # noqa: ASYNC251 - nobody else is served meanwhile: its flaw
        case _:
            raise ValueError("no such request")


async def converse(socket: ServerConnection) -> None:
    tenant, _, proof = socket.request.headers.get("Authorization", "").rpartition(".")
    if not hmac.compare_digest(proof, hmac.digest(KEY, tenant.encode(), "sha256").hex()):
        return await socket.close(4401, "not a token of this system")
    async with Redis(**REDIS, client_name=tenant, retry=Retry(NoBackoff(), 0)) as redis:
        async for text in socket:
            asked = json.loads(text)
            try:
                reply = {"result": await perform(redis, f"tenant:{tenant}", asked)}
            except (RedisError, ValueError) as error:
                reply = {"error": str(error)}
            await socket.send(json.dumps({"id": asked["id"]} | reply))


async def main() -> None:
    async with serve(converse, "0.0.0.0", 8000, compression=None) as server:
        await server.serve_forever()


asyncio.run(main())
