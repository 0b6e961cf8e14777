"""Agent state in Redis: `agent_state:{tenant}.{user}`, with an owner tag, compare-and-set and TTL.

Redis is a cache here and keeps nothing on disk: Postgres is the truth, and a key that is missing
from the state is looked up there.
"""

from __future__ import annotations

import hashlib

import hiredis

from .memory import State, key_of, merge, packed, unpacked
from .problems import Problem
from .redis_link import RedisLink

ATTEMPTS = 5

COMPARE_AND_SET = b"""
local now = redis.call('GET', KEYS[1])
local version = 0
if now then version = tonumber(string.match(now, '^(%d+) ')) end
if version ~= tonumber(ARGV[1]) then return now end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""
_SHA = hashlib.sha1(COMPARE_AND_SET, usedforsecurity=False).hexdigest()


class States:
    """Loads and saves the state of one user of one tenant."""

    def __init__(self, redis: RedisLink, ttl_seconds: int) -> None:
        self._redis, self._ttl_seconds = redis, ttl_seconds

    async def load(self, tenant: str, user: str) -> State:
        """The state as it is now; an empty one when there is none."""
        return unpacked(await self._redis.call("GET", key_of(tenant, user)), f"{tenant}.{user}")

    async def remember(
        self, tenant: str, user: str, state: State, *, key: str, value: str, seq: int, note: str
    ) -> None:
        """Put one written row into the state; a newer row of the same key wins over ours.

        Raises Problem: not definite, for the row is already committed.
        """
        owner = f"{tenant}.{user}"
        for _ in range(ATTEMPTS):
            version = state.version
            merge(state, key=key, value=value, seq=seq, note=note)
            reply = await self._set(key_of(tenant, user), version, packed(state, owner))
            if reply == 1:
                return
            state = unpacked(reply, owner)
        raise Problem("redis_unavailable", definite=False)

    async def forget(self, tenant: str, users: list[str]) -> None:
        """Remove the state of a retired tenant's users."""
        for user in users:
            await self._redis.call("DEL", key_of(tenant, user))

    async def _set(self, key: str, version: int, value: bytes) -> object:
        arguments = (1, key, version, value, self._ttl_seconds)
        try:
            return await self._redis.call("EVALSHA", _SHA, *arguments)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            return await self._redis.call("EVAL", COMPARE_AND_SET, *arguments)
