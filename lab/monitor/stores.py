"""What Postgres and Redis do for each tenant, once a second, from inside their containers.

One session each that stays: a new one a second would cost more than all that it measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from lab.errors import LabError
from lab.hands.sql import literal
from lab.monitor.finding import Tell
from lab.monitor.monitor import ResourceMonitor
from lab.resources import Kind, Sample, Source

MARK = "--that-was-all"
SILENCE_SECONDS = 5.0
"""A stream that says nothing for so long is begun again."""
KEYS_MAX = 100_000
"""More keys than these, times tenants, are not counted: it would hold up everybody's commands."""

SESSIONS = (
    "WITH a AS MATERIALIZED (SELECT * FROM pg_stat_activity WHERE backend_type = 'client backend') "
)
COUNTED = """SELECT {name}, count(*), count(*) FILTER (WHERE state = 'active'),
 count(*) FILTER (WHERE state LIKE 'idle in transaction%'),
 coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float8 FROM a WHERE {condition}"""
SESSION_FIGURES = ("sessions", "active", "idle_in_transaction", "transaction_seconds")

KEYS = """local n, size, at = 0, 0, '0'
if redis.call('DBSIZE') > tonumber(ARGV[1]) then return '-1 0' end
repeat local r = redis.call('SCAN', at, 'MATCH', ARGV[2], 'COUNT', 1000); at = r[1]
for _, key in ipairs(r[2]) do n = n + 1; size = size + (redis.call('MEMORY', 'USAGE', key) or 0) end
until at == '0' return n .. ' ' .. size"""


class Lines(Protocol):
    """What goes on being said, as `lab.engine.stream.Stream` has it."""

    def lines(self) -> list[str]:
        """What has come since the last call. Raises ProcessLookupError at its end."""
        ...

    def close(self) -> None:
        """End it."""
        ...


Begin = Callable[[], Lines]
Parse = Callable[[Sequence[str]], Iterable[tuple[Kind, str, Mapping[str, float]]]]


class Mains(Protocol):
    """Who knows the main processes of services."""

    @property
    def mains(self) -> Mapping[str, Source]:
        """Service -> its container."""
        ...


class StoreFeed:
    """A `Feed` from a store's own words; `begin` opens its stream, `parse` reads one round of it.

    The store's container is named in every sample. A store that does not run says nothing.
    """

    def __init__(self, service: str, mains: Mains, begin: Begin, parse: Parse, tell: Tell) -> None:
        self._service, self._mains, self._begin, self._parse = service, mains, begin, parse
        self._tell, self._told = tell, False
        self._stream: Lines | None = None
        self._main: Source | None = None
        self._round: list[str] = []
        self._heard_at = 0.0

    def poll(self, monitor: ResourceMonitor) -> None:
        """Take every round that has come."""
        main = self._mains.mains.get(self._service)
        if main is None or main != self._main:
            self.close()
            self._main = main
        if main is None:
            return
        now = time.monotonic()
        try:
            if self._stream is None:
                if now < self._heard_at + SILENCE_SECONDS:
                    return
                self._heard_at, self._stream = now, self._begin()
            lines = self._stream.lines()
        except (ProcessLookupError, LabError) as error:
            self._failed(str(error))
            return
        for line in lines:
            if line == MARK:
                self._heard_at = now
                self._take(monitor, main)
            else:
                self._round.append(line)
        if now > self._heard_at + SILENCE_SECONDS:
            self._failed(" ".join(self._round[-1:]) or "it is silent")

    def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._round = None, []

    def _take(self, monitor: ResourceMonitor, main: Source) -> None:
        try:
            for kind, name, values in self._parse(self._round):
                source = Source(kind, name, main.container, main.pid, main.started)
                monitor.take(Sample(source, time.monotonic_ns(), values))
        except (ValueError, LookupError):
            self._failed(" ".join(self._round[-1:]))
        self._round = []

    def _failed(self, why: str) -> None:
        self.close()
        if not self._told:
            self._told = True
            self._tell(f"service {self._service} tells nothing by tenant", why)


def sessions_sql(conditions: Mapping[str, str]) -> str:
    """One row a tenant: its name, and the figures of `SESSION_FIGURES`."""
    each = (
        COUNTED.format(name=literal(name), condition=condition)
        for name, condition in conditions.items()
    )
    return SESSIONS + " UNION ALL ".join(each)


def sessions_in(lines: Sequence[str]) -> Iterable[tuple[Kind, str, Mapping[str, float]]]:
    """The rows of `sessions_sql`."""
    for line in lines:
        name, *numbers = line.split("|")
        yield Kind.SESSIONS, name, dict(zip(SESSION_FIGURES, map(float, numbers), strict=True))


def redis_commands(patterns: Sequence[str]) -> str:
    """One round: who is connected, then one line a tenant, its keys in number and bytes."""
    script = " ".join(KEYS.split()).replace('"', '\\"')
    most = KEYS_MAX // max(1, len(patterns))
    lines = [f'EVAL "{script}" 0 {most} "{pattern}"' for pattern in patterns]
    return "\n".join(["CLIENT LIST", *lines])


def redis_replies(names: Sequence[str]) -> Parse:
    """The parser for `redis_commands`; `names`: the tenants, in the order of its patterns."""

    def parse(lines: Sequence[str]) -> Iterable[tuple[Kind, str, Mapping[str, float]]]:
        told = [line for line in lines if line]
        counts = told[len(told) - len(names) :] if names else []
        clients: dict[str, list[float]] = {}
        for line in told[: len(told) - len(counts)]:
            facts = {word.partition("=")[0]: word.partition("=")[2] for word in line.split()}
            memory = float(facts.get("tot-mem", 0))
            clients.setdefault(facts["name"] or facts.get("user", ""), []).append(memory)
        for name, sizes in clients.items():
            yield Kind.CLIENTS, name, {"clients": len(sizes), "bytes": sum(sizes)}
        for name, line in zip(names, counts, strict=True):
            number, size = map(float, line.strip('"').split())
            if number >= 0:
                yield Kind.KEYS, name, {"keys": number, "bytes": size}

    return parse
