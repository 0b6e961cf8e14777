"""Which replica of the backend runs a tenant's agent: the one that claimed it last.

Kept in Redis under the tenant's own prefix, as `<epoch> <replica>`: every claim takes the next
epoch, so a replica that was cut off, or is slow, finds out that it owns the agent no more
(fencing: Kleppmann, "How to do distributed locking", 2016). What an agent does is safe without
that: state is compared and set, and rows have keys; this keeps it one agent, with one memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .problems import Problem

if TYPE_CHECKING:
    from .redis_link import RedisLink

TTL_SECONDS = 3600
CHECK_SECONDS = 1.0
"""An owner that lost its claim may go on for this long."""

CLAIM = b"""
local now = redis.call('GET', KEYS[1])
local epoch = (now and tonumber(string.match(now, '^(%d+) ')) or 0) + 1
redis.call('SET', KEYS[1], epoch .. ' ' .. ARGV[1], 'EX', ARGV[2])
return epoch
"""
RELEASE = b"""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Owners:
    """Claims of one replica; `replica` is its name."""

    def __init__(self, redis: RedisLink, replica: str) -> None:
        self._redis, self._replica = redis, replica
        self._epochs: dict[str, int] = {}

    async def claim(self, tenant: str) -> None:
        """Take the tenant's agent over, from whoever has it. Raises Problem."""
        key, replica = _key(tenant), self._replica
        epoch = await self._redis.call("EVAL", CLAIM, 1, key, replica, TTL_SECONDS)
        if not isinstance(epoch, int):
            raise Problem("redis_unavailable")
        self._epochs[tenant] = epoch

    async def lost(self, tenant: str) -> bool:
        """Whether somebody else has claimed it since; False, too, while Redis does not tell."""
        try:
            return await self._redis.call("GET", _key(tenant)) not in (None, self._tag(tenant))
        except Problem:
            return False

    async def release(self, tenant: str) -> None:
        """Give it up; a claim that is another's by now is left alone."""
        tag = self._tag(tenant)
        if self._epochs.pop(tenant, None) is None:
            return
        try:
            await self._redis.call("EVAL", RELEASE, 1, _key(tenant), tag)
        except Problem:
            return  # it expires, and the next claim takes a higher epoch

    def _tag(self, tenant: str) -> bytes:
        return b"%d %s" % (self._epochs.get(tenant, 0), self._replica.encode())


def _key(tenant: str) -> str:
    """No user has a dot in its id, so this is no user's state."""
    return f"agent_state:{tenant}..owner"
