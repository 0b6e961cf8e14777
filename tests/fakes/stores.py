"""In-memory stores, stubs and clients: what is held, and under which name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.errors import UsageError
from lab.hands.clients import Manner


@dataclass
class FakePostgres:
    """A server that remembers its sessions and settings; `told` is what a query finds."""

    held: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    told: dict[str, float] = field(default_factory=lambda: {"free": 8.0, "n": 3.0})
    noted_so_far: Counter[str] = field(default_factory=Counter[str])
    there: bool = True

    async def hold(self, name: str, script: str, until: str, sessions: int = 1) -> None:
        """As the real one."""
        self._known()
        self.held[name] = (script, sessions)

    async def configure(self, name: str, setting: str, value: str) -> None:
        """As the real one."""
        await self.hold(name, f"{setting} = {value}", "")

    async def release(self, name: str, settings: Mapping[str, str] = {}) -> None:
        """As the real one: what is not there is fine, also the server itself."""
        self.held.pop(name, None)

    async def figures(self, sql: str) -> Mapping[str, float]:
        """What the test wants it to tell."""
        self._known()
        return self.told

    async def rows_of(self, tenant: str) -> str:
        """As the real one."""
        return f"tenant_id = '{tenant}'"

    async def sessions_of(self, tenant: str) -> str:
        """As the real one."""
        return f"application_name = '{tenant}'"

    async def note(self, name: str, amount: float) -> None:
        """As the real one."""
        self.noted_so_far[name] += int(amount)

    async def noted(self, name: str) -> float:
        """As the real one."""
        return float(self.noted_so_far[name])

    def _known(self) -> None:
        if not self.there:
            raise UsageError("is not in the stack file", where="x-lab.stores.postgres")


@dataclass
class FakeRedis:
    """A server that remembers commands and settings."""

    held: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    calls: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    told: dict[str, float] = field(default_factory=dict[str, float])

    async def call(self, *words: str) -> str:
        """Every command succeeds."""
        self.calls.append(words)
        return "OK"

    async def repeat(self, name: str, every_ms: int, *words: str) -> None:
        """As the real one."""
        self.held[name] = words

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        """As the real one."""
        self.held[name] = tuple(f"{key} = {value}" for key, value in settings.items())

    async def release(self, name: str) -> None:
        """As the real one."""
        self.held.pop(name, None)

    async def figures(self) -> Mapping[str, float]:
        """What the test wants it to tell."""
        return self.told

    async def keys_of(self, tenant: str) -> str:
        """As the real one."""
        return f"state:{tenant}:*"


@dataclass
class FakeStubs:
    """Stubs that remember which status they have to answer with."""

    failing: dict[str, int] = field(default_factory=dict[str, int])
    names: tuple[str, ...] = ("stub",)

    async def fail(self, service: str, status: int) -> None:
        """As the real one."""
        if service not in self.names:
            raise UsageError(f"`{service}` is no stub")
        self.failing[service] = status

    async def mend(self, service: str) -> None:
        """As the real one."""
        self.failing.pop(service, None)


@dataclass
class FakeClients:
    """Tenants that misbehave in name only."""

    going: dict[str, Manner] = field(default_factory=dict[str, Manner])
    revoked: list[str] = field(default_factory=list[str])
    told: dict[str, float] = field(default_factory=dict[str, float])

    async def begin(self, name: str, manner: Manner) -> None:
        """As the real one."""
        self.going[name] = manner

    async def end(self, name: str) -> None:
        """As the real one."""
        self.going.pop(name, None)

    async def counts(self, name: str) -> Mapping[str, float]:
        """What the test wants it to tell."""
        return self.told

    async def revoke(self, tenant: str) -> None:
        """As the real one."""
        self.revoked.append(tenant)
