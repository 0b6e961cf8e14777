# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Claims are renewed while their session lives, and given back when it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import pytest
from reference_platform import claiming, messages
from reference_platform import claims as claims_of
from reference_platform.problems import Problem

LEASE_SECONDS = 0.09


class Database:
    """Writes down what is executed; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.done: list[tuple[object, ...]] = []
        self.more = anyio.Event()

    @asynccontextmanager
    async def tenant_tx(
        self, tenant: str, until: float, *, writes: bool
    ) -> AsyncGenerator[Database]:
        if self.failures:
            self.failures -= 1
            raise Problem("postgres_unavailable")
        yield self

    async def execute(self, *words: object) -> None:
        self.done.append(words)
        self.more.set()
        self.more = anyio.Event()

    async def reached(self, count: int) -> None:
        with anyio.fail_after(3):
            while len(self.done) < count:
                await self.more.wait()


def test_the_leases_of_open_sessions_are_renewed_also_after_a_failure() -> None:
    async def body() -> None:
        database = Database(failures=1)
        claims = claims_of.Claims(database, LEASE_SECONDS)
        claims.expect("a", "one")
        async with anyio.create_task_group() as group:
            group.start_soon(claims.keep)
            await database.reached(2)
            group.cancel_scope.cancel()
        assert set(map(str, database.done)) == {
            str((claims_of.RENEW, "a", ["one"], LEASE_SECONDS)),
        }

    anyio.run(body)


def test_a_session_that_ends_gives_back_its_own_claims_once_postgres_lets_it() -> None:
    async def body() -> None:
        database = Database(failures=1)
        claims = claims_of.Claims(database, lease_seconds=30.0)
        for holder in ("one", "two"):
            claims.expect("a", holder)
        claims.release_later("a", "one")
        claims.release_later("a", "one")
        claims.release_later("b", "one")
        await database.reached(1)
        await claims.settled()
        assert database.done == [(claims_of.RELEASE, "a", ["one"])]

    anyio.run(body)


def test_a_claim_that_was_cancelled_is_given_back_a_second_time_when_it_may_have_come_through() -> (
    None
):
    async def body() -> None:
        database = Database()
        claims = claims_of.Claims(database, lease_seconds=30.0)
        claims.expect("a", "one")
        claims.release_later("a", "one")
        claims.uncertain("one")
        await claims.settled()
        assert database.done == [(claims_of.RELEASE, "a", ["one"])] * 2

    anyio.run(body)


def test_a_claim_of_which_nobody_knows_what_became_is_given_back_a_second_time_too() -> None:
    class Broken(Database):
        @asynccontextmanager
        async def tenant_tx(
            self, tenant: str, until: float, *, writes: bool
        ) -> AsyncGenerator[Database]:
            raise Problem("postgres_unavailable", definite=False)
            yield self

    async def body() -> None:
        database = Database()
        claims = claims_of.Claims(database, lease_seconds=30.0)
        action = messages.Claim("seat")
        message = messages.UserMessage("", "main", "u", messages.Metadata("a", "1", action))
        turn = SimpleNamespace(
            rooms=SimpleNamespace(claims=claims), database=Broken(), message=message,
            tenant="a", user="u", holder="one", until=anyio.current_time(),
        )  # fmt: skip
        with pytest.raises(Problem, match="postgres_unavailable"):
            await claiming.claim(turn, action, None)
        claims.release_later("a", "one")
        await claims.settled()
        assert database.done == [(claims_of.RELEASE, "a", ["one"])] * 2

    anyio.run(body)
