"""Agent state in Redis: `agent_state:{tenant}.{user}`, with an owner tag, compare-and-set and TTL.

Redis is a cache here and keeps nothing on disk: Postgres is the truth, from which a document that
Redis has lost is rebuilt under a new epoch. Whoever still holds the old one cannot overwrite it:
versions begin again then, epochs never do (fencing: Kleppmann, "How to do distributed locking").
"""

from __future__ import annotations

import hashlib

import hiredis

from .defects import planted
from .memory import State, key_of, merge, owner_of, packed, rebuilt, unpacked
from .problems import Problem
from .redis_link import RedisLink, Reply
from .tenant_tx import Database

ATTEMPTS = 5
ROWS = 256
"""How many of the latest rows a state is rebuilt from."""

COMPARE_AND_SET = b"""
local now = redis.call('GET', KEYS[1])
if (now and string.match(now, ARGV[3]) or '') ~= ARGV[1] then return now end
redis.call('SET', KEYS[1], ARGV[2], unpack(ARGV, 4))
return 1
"""
_SHA = hashlib.sha1(COMPARE_AND_SET, usedforsecurity=False).hexdigest()
STAMP, VERSION_ONLY = "^%d+ %d+", "^%d+ (%d+)"

NEXT_EPOCH = "UPDATE tenants SET epoch = epoch + 1 WHERE tenant_id = $1 RETURNING epoch"
LATEST = f"""
SELECT seq, key, content FROM messages WHERE tenant_id = $1 AND user_id = $2
ORDER BY seq DESC LIMIT {ROWS}
"""


class States:
    """Loads and saves the state of one user of one tenant; `until` is in loop time."""

    def __init__(self, redis: RedisLink, database: Database, ttl_seconds: int) -> None:
        self._redis, self._database, self._ttl_seconds = redis, database, ttl_seconds

    async def load(self, tenant: str, user: str, until: float) -> State:
        """The state as it is now, rebuilt if Redis does not have it. Raises Problem."""
        owner = owner_of(tenant, user)
        stored = await self._redis.read("GET", key_of(owner), until=until)
        if stored is not None:
            return _known(stored, owner)
        state = await self._rebuilt(tenant, user, until)
        reply = await self._set(owner, state, until)
        return _written(state) if reply == 1 else _known(reply, owner)

    async def remember(
        self, tenant: str, user: str, state: State, *,
        key: str | None, value: str, seq: int, until: float,
    ) -> None:  # fmt: skip
        """Put one written row into the state; a newer row of the same key wins over ours.

        Raises Problem: not definite, for the row is already committed.
        """
        owner = owner_of(tenant, user)
        for _ in range(ATTEMPTS):
            merge(state, key=key, value=value, seq=seq)
            reply = await self._set(owner, state, until)
            if reply == 1:
                return
            if reply is None:  # lost meanwhile, or the tenant was retired
                state = await self._rebuilt(tenant, user, until)
            else:
                state = _known(reply, owner)
        raise Problem("redis_unavailable", definite=False)

    async def forget(self, tenant: str, user: str) -> None:
        """Remove the state of a retired tenant's user."""
        await self._redis.call("DEL", key_of(owner_of(tenant, user)))

    async def _rebuilt(self, tenant: str, user: str, until: float) -> State:
        """What Postgres knows, under the next epoch. Raises Problem; nobody is rebuilt twice."""
        async with self._database.tenant_tx(tenant, until, writes=True) as tx:
            epoch = await tx.fetchval(NEXT_EPOCH, tenant)
            if epoch is None:
                raise Problem("unknown_tenant")
            if planted("state_not_rebuilt"):
                return State({}, {}, [], epoch)
            return rebuilt(epoch, [tuple(row) for row in await tx.fetch(LATEST, tenant, user)])

    async def _set(self, owner: str, state: State, until: float) -> Reply:
        """1 when it is stored; what is stored instead, or None for nothing, when it is not."""
        key, value = key_of(owner), packed(state, owner)
        life = () if planted("state_without_ttl") else ("EX", self._ttl_seconds)
        if planted("state_set_blindly"):
            await self._redis.call("SET", key, value, *life, until=until)
            return 1
        stamp, pattern = state.stamp, STAMP
        if planted("epoch_ignored"):
            stamp, pattern = stamp.rpartition(b" ")[2], VERSION_ONLY
        arguments = (1, key, stamp, value, pattern, *life)
        try:
            return await self._redis.call("EVALSHA", _SHA, *arguments, until=until)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            return await self._redis.call("EVAL", COMPARE_AND_SET, *arguments, until=until)


def _known(reply: Reply, owner: str) -> State:
    if not isinstance(reply, bytes):
        raise Problem("redis_unavailable")
    return unpacked(reply, owner)


def _written(state: State) -> State:
    state.version += 1
    return state
