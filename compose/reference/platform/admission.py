"""Who may come in: pure decisions from counters and a clock that is passed in.

Gates per tenant, cheapest first: a rate (token bucket), a cap on unfinished messages, bytes and
model tokens, which are paid for afterwards, and budgets of database time and tool CPU, which are
reserved before and settled with what the work really cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .defects import planted
from .problems import Problem
from .quotas import Quotas

SAVED_SECONDS = 2.0
"""How much of a sustained rate a tenant may save up and use at once."""
MINUTE_SECONDS = 60.0
REFUSALS_PER_SECOND, REFUSALS_BURST = 100.0, 100.0
"""How often a tenant is told no: beyond that its sockets are not read, so that a flood costs the
others no more, however great it is."""
UNREAD_SECONDS_MAX = 1.0
"""The longest that a socket is left unread, however many of the tenant's are refused at once."""


@dataclass(slots=True)
class Bucket:
    """Tokens that refill at `per_second` up to `burst`; a level below zero is waited for."""

    per_second: float
    burst: float
    level: float
    at: float

    def refill(self, now: float) -> float:
        """The level at `now` (seconds of a monotonic clock)."""
        if planted("fixed_window"):
            if int(now) != int(self.at):
                self.level = self.burst
        else:
            self.level = min(self.burst, self.level + (now - self.at) * self.per_second)
        self.at = now
        return self.level

    def wait_ms(self, need: float) -> int:
        """Milliseconds until the level reaches `need`."""
        return max(1, int(1000 * (need - self.level) / self.per_second) + 1)

    def change(self, per_second: float, burst: float, now: float) -> None:
        """Other limits from `now` on; a debt stays, and a smaller bucket spills what is over."""
        self.level = min(self.refill(now), burst)
        self.per_second, self.burst = per_second, burst


def rates(quotas: Quotas) -> dict[str, tuple[float, float]]:
    """kind -> (per second, burst), in the unit of the quota."""
    saved = {
        "cpu": quotas.cpu_ms_per_second,
        "database": quotas.database_ms_per_second,
        "disk": quotas.disk_kb_per_second,
        "network": quotas.network_kb_per_second,
    }
    return {
        "requests": (quotas.requests_per_second, quotas.burst),
        "tokens": (quotas.tokens_per_minute / MINUTE_SECONDS, quotas.tokens_per_minute),
        **{kind: (rate, rate * SAVED_SECONDS) for kind, rate in saved.items()},
    }


def kinds_of(work: str) -> tuple[str, ...]:
    """Which budgets work of a kind is paid from."""
    return {"query": ("database",), "files": ("cpu", "disk")}.get(work, ("cpu",))


@dataclass(slots=True)
class Tally:
    """One tenant's quotas and counters; `used` and `refused` go by kind."""

    quotas: Quotas
    buckets: dict[str, Bucket]
    refusals: Bucket
    in_flight: int = 0
    accepted: int = 0
    running: dict[str, int] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def counters(self) -> dict[str, object]:
        """For the admin port: what was let in, used, and refused for which reason."""
        return {
            "accepted": self.accepted, "in_flight": self.in_flight,
            "used": {kind: round(amount, 3) for kind, amount in self.used.items()},
            "refused": dict(self.refused),
        }  # fmt: skip


class Admission:
    """Decides for all tenants; remembers a tenant until it is retired."""

    def __init__(self, default: Quotas) -> None:
        self.default = default
        self.tallies: dict[str, Tally] = {}

    def quotas(self, tenant: str) -> Quotas:
        """The tenant's limits as far as they are known here; the defaults until they are."""
        found = self.tallies.get(tenant)
        return found.quotas if found else self.default

    def pool_share(self, tenant: str) -> tuple[int, int]:
        """How many connections of the pool the tenant may hold, and how many may wait for one."""
        quotas = self.quotas(tenant)
        return quotas.connections, quotas.queue

    def set_quotas(self, tenant: str, quotas: Quotas, now: float) -> None:
        """Hold the tenant to these from now on, on the sockets that it has, too."""
        tally = self.tally(tenant, now)
        if quotas == tally.quotas:
            return
        tally.quotas = quotas
        if planted("quota_change_not_live"):
            return
        for kind, (per_second, burst) in rates(quotas).items():
            tally.buckets[kind].change(per_second, burst, now)

    def tally(self, tenant: str, now: float) -> Tally:
        """The tenant's counters, made on first sight."""
        found = self.tallies.get(tenant)
        if found is None:
            found = self.tallies[tenant] = self._new(self.default, now)
        if planted("bucket_per_socket"):
            return self._new(found.quotas, now)
        if planted("bucket_for_all"):
            found.buckets["requests"] = next(iter(self.tallies.values())).buckets["requests"]
        return found

    def forget(self, tenant: str) -> None:
        """Drop the counters of a tenant that was retired."""
        self.tallies.pop(tenant, None)

    def arrive(self, tally: Tally, now: float, size_bytes: int = 0) -> Problem | None:
        """Let a message in (count it) or say why not. Runs before the message is decoded."""
        if planted("shared_pool"):
            tally.in_flight += 1
            return None
        requests = tally.buckets["requests"]
        if requests.refill(now) < 1.0:
            return self._no(tally, "requests", "rate_limited", requests.wait_ms(1.0))
        if tally.in_flight >= tally.quotas.in_flight and not planted("in_flight_unlimited"):
            return self._no(tally, "in_flight", "too_many_in_flight", 50)
        for kind in ("network", "tokens"):
            bucket = tally.buckets[kind]
            if bucket.refill(now) <= 0.0:
                return self._no(tally, kind, "over_budget", bucket.wait_ms(0.0))
        requests.level -= 1.0
        tally.in_flight += 1
        tally.accepted += 1
        self.charge(tally, "network", size_bytes / 1000)
        return None

    def leave(self, tally: Tally) -> None:
        """A message that was let in is finished."""
        tally.in_flight -= 1

    def unread_seconds(self, tally: Tally, now: float) -> float:
        """Count one refusal; for how long its socket is to be left unread, mostly 0."""
        most = UNREAD_SECONDS_MAX * REFUSALS_PER_SECOND
        tally.refusals.level = max(tally.refusals.refill(now) - 1.0, -most)
        return max(0.0, -tally.refusals.level / REFUSALS_PER_SECOND)

    def charge(self, tally: Tally, kind: str, amount: float) -> None:
        """Take what was used already, in the quota's unit; a debt delays what comes next."""
        tally.used[kind] = tally.used.get(kind, 0.0) + amount
        tally.buckets[kind].level -= amount

    def afford(self, tally: Tally, kind: str, estimate_ms: float, now: float) -> Problem | None:
        """Why work of a kind may not begin now, or None; reserves nothing."""
        if planted("shared_pool"):
            return None
        bucket = tally.buckets[kind]
        if bucket.refill(now) <= 0.0:
            return self._no(tally, kind, "over_budget", bucket.wait_ms(0.0))
        if tally.running.get(kind, 0) >= tally.quotas.parallel:
            return self._no(tally, kind, "over_budget", max(1, int(estimate_ms)))
        return None

    def begin(self, tally: Tally, kind: str, estimate_ms: float, now: float) -> None:
        """Reserve budget for work. Raises Problem `over_budget`."""
        if problem := self.afford(tally, kind, estimate_ms, now):
            raise problem
        tally.running[kind] = tally.running.get(kind, 0) + 1
        tally.buckets[kind].level -= estimate_ms

    def settle(self, tally: Tally, kind: str, estimate_ms: float, cost_ms: float) -> None:
        """Replace the estimate by the measured cost."""
        tally.running[kind] -= 1
        tally.buckets[kind].level += estimate_ms
        if not planted("work_is_free"):
            self.charge(tally, kind, cost_ms)

    def _new(self, quotas: Quotas, now: float) -> Tally:
        limits = rates(quotas).items()
        buckets = {kind: Bucket(per, top, top, now) for kind, (per, top) in limits}
        refusals = Bucket(REFUSALS_PER_SECOND, REFUSALS_BURST, REFUSALS_BURST, now)
        return Tally(quotas, buckets, refusals)

    def _no(self, tally: Tally, kind: str, code: str, wait_ms: int) -> Problem:
        tally.refused[kind] = tally.refused.get(kind, 0) + 1
        if planted("refusal_without_delay"):
            wait_ms = 0
        return Problem(code, retry_after_ms=wait_ms)
