"""What the real hands on stores make of words: INFO, literals, tenants' ids."""

from __future__ import annotations

from typing import cast

import anyio
import pytest

from lab.errors import LabError, UsageError
from lab.hands.real.holding import Holding
from lab.hands.real.postgres import RunPostgres
from lab.hands.real.redis import RunRedis, parse_info
from lab.hands.real.stubs import RunStubs
from lab.stack.schema import PostgresBlock, RedisBlock

INFO = """# Stats\r
evicted_keys:12\r
redis_version:7.0.15\r
cmdstat_get:calls=3,usec=4.5\r
db0:keys=7,expires=0\r
"""
POSTGRES = PostgresBlock(
    service="db",
    marker="marks",
    tenant_column="owner",
    tenant_sessions="application_name = 'of {tenant}'",
)


def test_info_is_read_as_numbers_by_name() -> None:
    told = parse_info(INFO)
    assert told["evicted_keys"] == 12
    assert told["cmdstat_get.calls"] == 3
    assert told["cmdstat_get.usec"] == 4.5
    assert told["db0.keys"] == 7
    assert "redis_version" not in told


def test_a_tenant_is_known_by_its_rows_sessions_and_keys() -> None:
    async def story() -> None:
        postgres = RunPostgres(None, POSTGRES, "r")
        redis = RunRedis(None, RedisBlock(service="c", tenant_keys="k:{tenant}:*"))
        assert await postgres.rows_of("t'1") == "owner = 't''1'"
        assert await postgres.sessions_of("t-1") == "application_name = 'of t-1'"
        assert await redis.keys_of("t*") == "k:t\\*:*"
        with pytest.raises(LabError, match="cannot stand in a condition"):
            await postgres.sessions_of("t' OR true")

    anyio.run(story)


def test_a_system_without_a_store_is_told_so_and_has_nothing_to_release() -> None:
    async def story() -> None:
        postgres, redis, stubs = RunPostgres(None, None, "r"), RunRedis(None, None), RunStubs({})
        await postgres.release("lab:x")
        await redis.release("lab:x")
        await stubs.mend("llm")
        for refused in (
            postgres.hold("lab:x", "", ""),
            postgres.rows_of("t"),
            redis.call("PING"),
            redis.keys_of("t"),
            stubs.fail("llm", 503),
        ):
            with pytest.raises(UsageError, match=r"not in the stack file|is no stub"):
                await refused

    anyio.run(story)


def test_a_block_without_the_key_a_fault_needs_is_told_which() -> None:
    async def story() -> None:
        postgres = RunPostgres(None, PostgresBlock(service="db", marker="marks"), "r")
        with pytest.raises(UsageError, match=r"x-lab\.stores\.postgres\.tenant_column"):
            await postgres.rows_of("t")

    anyio.run(story)


def test_a_setting_of_a_server_that_is_down_is_not_said_to_be_put_back() -> None:
    class Down:
        service = "db"

        async def up(self) -> bool:
            return False

        async def release(self, name: str) -> None:
            """Nobody holds anything there."""

    async def story() -> None:
        postgres = RunPostgres(cast("Holding", Down()), POSTGRES, "r")
        await postgres.release("lab:x")
        with pytest.raises(LabError, match="cannot be put back"):
            await postgres.release("lab:x", {"default_transaction_read_only": "on"})

    anyio.run(story)
