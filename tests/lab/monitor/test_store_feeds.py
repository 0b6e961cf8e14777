"""A store's own words become samples by tenant; silence and nonsense are told, and not made up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lab.monitor import Kind, ResourceMonitor, Sample, Source
from lab.monitor.stores import MARK, StoreFeed, redis_replies, sessions_in, sessions_sql

MAIN = Source(Kind.CONTAINER, "db", "c9", 5, 50)


class Words:
    """A stream that says what it is given, a piece at a time."""

    def __init__(self, *pieces: list[str]) -> None:
        self.pieces, self.closed = list(pieces), False

    def lines(self) -> list[str]:
        if not self.pieces:
            raise ProcessLookupError("the command has ended")
        return self.pieces.pop(0)

    def close(self) -> None:
        self.closed = True


class Mains:
    """The store's container, there or not."""

    def __init__(self) -> None:
        self.mains: Mapping[str, Source] = {"db": MAIN}


def fed(words: Words, polls: int, mains: Mains | None = None) -> tuple[list[Sample], list[str]]:
    seen: list[Sample] = []
    told: list[str] = []
    monitor = ResourceMonitor()
    monitor.subscribe(seen.append)
    feed = StoreFeed(
        "db", mains or Mains(), lambda: words, sessions_in, lambda what, why: told.append(why)
    )
    for _ in range(polls):
        feed.poll(monitor)
    feed.close()
    assert words.closed
    return seen, told


def test_a_round_that_comes_in_pieces_is_one_sample_a_tenant() -> None:
    seen, told = fed(Words(["quiet-0|2|1|0|0.5"], ["quiet-1|1|0|1|3", MARK], []), 3)
    assert [(s.source, dict(s.values)) for s in seen] == [
        (
            Source(Kind.SESSIONS, name, "c9", 5, 50),
            {"sessions": n, "active": a, "idle_in_transaction": i, "transaction_seconds": t},
        )
        for name, n, a, i, t in (("quiet-0", 2, 1, 0, 0.5), ("quiet-1", 1, 0, 1, 3))
    ]
    assert not told


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (Words(["ERROR: no such table", MARK]), "ERROR: no such table"),
        (Words(), "the command has ended"),
    ],
)
def test_what_cannot_be_read_is_told_once_and_no_sample(words: Words, why: str) -> None:
    seen, told = fed(words, 1)
    assert (seen, told) == ([], [why])


def test_a_store_that_is_not_there_is_not_asked() -> None:
    mains = Mains()
    mains.mains = {}
    words = Words()
    feed = StoreFeed("db", mains, lambda: words, sessions_in, lambda what, why: None)
    feed.poll(ResourceMonitor())
    assert not words.closed


def test_redis_tells_clients_by_name_or_user_and_keys_by_tenant() -> None:
    lines = [
        "id=3 addr=a name= tot-mem=100 user=app",
        "id=4 addr=b name= tot-mem=200 user=app",
        "id=5 addr=c name=worker tot-mem=50 user=app",
        "",
        "2 700",
        "-1 0",
    ]
    told = {(kind, name): values for kind, name, values in redis_replies(["a-0", "b-0"])(lines)}
    assert told == {
        (Kind.CLIENTS, "app"): {"clients": 2, "bytes": 300},
        (Kind.CLIENTS, "worker"): {"clients": 1, "bytes": 50},
        (Kind.KEYS, "a-0"): {"keys": 2, "bytes": 700},
    }


def test_a_tenants_name_cannot_break_out_of_the_query() -> None:
    assert "SELECT 'it''s', count(*)" in sessions_sql({"it's": "true"})
