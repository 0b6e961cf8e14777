"""Service time beside response time: what the system took, without the wait behind others.

Response time (`Op.latency_ms`) counts from the due time and is what tenants feel and verifiers
judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.history import Op, Outcome


def service_times_ms(ops: Iterable[Op]) -> Iterator[float]:
    """Milliseconds each answered operation took by itself, in order of the answers.

    An operation's clock starts when it was sent or when its session's answer before it came,
    whichever is later: what a client with one request in flight per connection, timing it from its
    actual send, would have measured. That is the figure closed-loop tools report, and the one
    coordinated omission flatters: of everything that queued behind a standstill, only the first
    looks slow (Tene, "How NOT to Measure Latency"). Operations without an answer have no service
    time.
    """
    free_ns: dict[tuple[str, int], int] = {}
    answered = (op for op in ops if op.outcome is Outcome.OK)
    for op in sorted(answered, key=lambda op: (op.done_ns, op.sent_ns)):
        connection = (op.tenant, op.session)
        yield (op.done_ns - max(op.sent_ns, free_ns.get(connection, 0))) / 1e6
        free_ns[connection] = op.done_ns
