"""Prometheus counters; no tenant in a label, so that their number stays bounded.

Anybody on the network may read them, and so nothing in them tells one tenant from another.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

answered = Counter("platform_messages_answered", "Messages that got an answer")
refused = Counter("platform_messages_refused", "Messages refused by admission")
bad = Counter("platform_messages_bad", "Messages that could not be understood")
foreign = Counter("platform_messages_foreign", "Messages for another tenant or user, all refused")
failed = Counter("platform_messages_failed", "Messages that got an error", ["code"])
denied = Counter("platform_sockets_denied", "Sockets denied before the upgrade", ["reason"])
sockets = Gauge("platform_sockets_open", "Sockets open now")
ended = Counter("platform_sockets_ended", "Sockets ended by the platform", ["code"])
blind = Gauge("platform_revocations_blind", "1 while auth cannot be asked which sessions are over")
logins = Counter("platform_logins", "Logins by outcome", ["outcome"])
seconds = Histogram(
    "platform_answer_seconds",
    "From arrival to answer",
    buckets=(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
pool_wait = Histogram(
    "platform_pool_wait_seconds",
    "From asking for a connection of the database pool to having it",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2),
)
# Planted only: what a dashboard would like to have, and nobody else may see.
named = CollectorRegistry()
by_tenant = Counter("platform_tenant_messages", "By tenant", ["tenant"], registry=named)
