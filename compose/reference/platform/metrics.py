"""Prometheus counters; no tenant in a label, so that their number stays bounded."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

answered = Counter("platform_messages_answered", "Messages that got an answer")
refused = Counter("platform_messages_refused", "Messages refused by admission")
bad = Counter("platform_messages_bad", "Messages that could not be understood")
foreign = Counter("platform_messages_foreign", "Messages for another tenant or user, all refused")
failed = Counter("platform_messages_failed", "Messages that got an error", ["code"])
denied = Counter("platform_sockets_denied", "Sockets denied before the upgrade", ["reason"])
seconds = Histogram(
    "platform_answer_seconds",
    "From arrival to answer",
    buckets=(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
