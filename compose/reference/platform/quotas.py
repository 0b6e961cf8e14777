"""What one tenant may take, whoever holds it to that: admission, the gate, the model, its agent."""

from __future__ import annotations

from typing import Annotated

import msgspec

Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Quotas(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One tenant's limits. The defaults are for a tenant that nobody gave any of its own.

    Sustained rates are kept by token buckets (RFC 2697 has the idea), which start full.
    """

    requests_per_second: Rate = 40.0  # messages let in, sustained
    burst: Rate = 40.0  # messages let in at once, when there were none before
    sockets: Count = 32  # open WebSockets
    in_flight: Count = 32  # unfinished messages
    connections: Count = 4  # of the database pool, held at once
    queue: Count = 64  # waits for a connection of the pool
    parallel: Count = 1  # pieces of work of one kind, at once
    cpu_ms_per_second: Rate = 50.0  # milliseconds of tool CPU a second
    database_ms_per_second: Rate = 30.0  # milliseconds of query work a second
    disk_kb_per_second: Rate = 4_000.0  # kilobytes (1000 bytes) that tools write a second
    network_kb_per_second: Rate = 1_000.0  # kilobytes of messages and answers a second
    tokens_per_minute: Rate = 1_000_000.0  # tokens of the model, of prompts and answers
    memory_mb: Count = 256  # MiB that the tenant's agent may have
    pids: Count = 16  # processes that the tenant's agent may have


def parsed(text: str | bytes) -> Quotas:
    """Quotas from JSON; what is not named has its default.

    Raises msgspec.DecodeError, or its ValidationError for what is unknown or out of range.
    """
    return msgspec.json.decode(text, type=Quotas)


def changed(quotas: Quotas, changes: bytes, usual: Quotas | None = None) -> Quotas:
    """The quotas with some fields replaced, from JSON; raises as `parsed`.

    A null puts back what `usual` has, if it is given (RFC 7396), and else leaves the field.
    """
    given = msgspec.json.decode(changes, type=dict[str, msgspec.Raw])
    back = msgspec.structs.asdict(usual or quotas)
    named = {n: back.get(n) if bytes(v) == b"null" else v for n, v in given.items()}
    return parsed(msgspec.json.encode({**msgspec.structs.asdict(quotas), **named}))
