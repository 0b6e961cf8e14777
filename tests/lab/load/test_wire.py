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
    Message,
    PhaseReport,
    Report,
    order,
    pack,
    unpack,
)

OP = Op("p/t/0/1", "t", "c", 1, "read", "p", 1, 2, 3, Outcome.INFO, "timeout", "key", "all")


def test_every_message_comes_back_as_it_was() -> None:
    phase = PhaseReport(errors={"": 2}, late_ns=bytes(16), stall_ns=1, cpu_seconds=0.5, seconds=2.0)
    report = Report(
        phases={"attack": phase}, stall_ns=1, cpu_seconds=1, seconds=2, transport="picows"
    )
    messages: list[Message] = [
        Done(),
        Batch((OP, OP)),
        Connected(1, ("t: timeout",)),
        Failed("what", "where", "mend"),
        report,
    ]
    for message in messages:
        body = pack(message)
        assert HEADER.unpack(body[: HEADER.size]) == (len(body) - HEADER.size,)
        assert unpack(body[HEADER.size :]) == message


def test_a_command_comes_back_as_it_was() -> None:
    assert pickle.loads(order(Cut("attack"))[HEADER.size :]) == Cut("attack")
