"""Messages between the lab and its load generator."""

from __future__ import annotations

import pickle

from lab.history import Op, Outcome
from lab.load.wire import (
    HEADER,
    Batch,
    Connected,
    Cut,
    Done,
    Failed,
    Health,
    Message,
    order,
    pack,
    unpack,
)

OP = Op("p/t/0/1", "t", "c", 1, "read", "p", 1, 2, 3, Outcome.INFO, "timeout", "key", "all")


def test_every_message_comes_back_as_it_was() -> None:
    health = Health(due=3, lateness_p99_ms=0.5, phases={"attack": Health(sent=2)})
    messages: list[Message] = [
        Done(),
        Batch((OP, OP)),
        Connected(1, ("t: timeout",)),
        Failed("what", "where", "mend"),
        health,
    ]
    for message in messages:
        body = pack(message)
        assert HEADER.unpack(body[: HEADER.size]) == (len(body) - HEADER.size,)
        assert unpack(body[HEADER.size :]) == message


def test_a_command_comes_back_as_it_was() -> None:
    assert pickle.loads(order(Cut("attack"))[HEADER.size :]) == Cut("attack")
