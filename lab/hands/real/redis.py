"""Redis from inside its container, by redis-cli."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import join, quote

from lab.engine.stream import Stream
from lab.errors import LabError, UsageError
from lab.hands.real.holding import Holding
from lab.stack.schema import RedisBlock

_CHANGED = ("maxmemory", "maxmemory-policy", "min-replicas-to-write")

_GLOB = str.maketrans({each: f"\\{each}" for each in "*?[]^\\"})


class RunRedis:
    """The `Redis` of a running stack; `block` is None where the system has none."""

    def __init__(self, holding: Holding | None, block: RedisBlock | None) -> None:
        self._maybe, self._maybe_block = holding, block

    async def call(self, *words: str) -> str:
        """See `Redis`."""
        return (await self._holding.run(f"{self._cli}\ncli {join(words)}")).strip()

    def every_second(self, commands: str, mark: str) -> Stream:
        """The replies to these commands (a line each) once a second, then `mark`. Blocking."""
        once = f"{commands}\nECHO {mark}\n"
        again = f"while printf %s {quote(once)}; do sleep 1; done"
        return self._holding.stream(f"{self._cli}\n{again} | cli")

    async def repeat(self, name: str, every_ms: int, *words: str) -> None:
        """See `Redis`: one redis-cli, which opens its connection again when it is lost."""
        forever = f"cli -r -1 -i {every_ms / 1000:g} {join(words)}"
        await self._holding.hold(name, f"{self._cli}\n{forever} >/dev/null &", undo=":")

    async def configure(self, name: str, settings: Mapping[str, str]) -> None:
        """See `Redis`: what they were lies in a file, where any process finds it."""
        now = "$(cli CONFIG GET {0} | tail -n 1)"
        keep = [f'printf " %s \\"%s\\"" {key} "{now.format(key)}"' for key in settings]
        kept = f"[ -e {_was(name)} ] || {{ {'; '.join(keep)}; }} >{_was(name)}"
        change = [word for pair in settings.items() for word in pair]
        act = f"{self._cli}\n{kept}\ncli CONFIG SET {join(change)} >/dev/null"
        await self._holding.hold(name, act, undo=_back(name))

    async def release(self, name: str) -> None:
        """See `Redis`."""
        if self._maybe is None:
            return
        await self._maybe.release(name)
        if await self._maybe.up():  # a server that is down has forgotten its settings by itself
            await self._maybe.run(f"{self._cli}\n{_back(name)} && cli PING")

    async def figures(self) -> Mapping[str, float]:
        """See `Redis`; Redis 7 tells everything under `INFO everything`."""
        if not await self._holding.up():
            return {}
        return parse_info(await self.call("INFO", "everything"))

    async def residue(self) -> dict[str, tuple[str, ...]]:
        """The settings that faults change, as they are now; see `lab/healing/residue.py`."""
        if self._maybe is None or not await self._maybe.up():
            return {}
        words = (await self.call("CONFIG", "GET", *_CHANGED)).splitlines()
        pairs = zip(words[::2], words[1::2], strict=False)
        return {"redis": tuple(sorted(f"{name}={value}" for name, value in pairs))}

    async def keys_of(self, tenant: str) -> str:
        """See `Redis`."""
        return self.pattern_of(tenant)

    def pattern_of(self, tenant: str) -> str:
        """As `keys_of`, for who cannot wait."""
        pattern = self._block.tenant_keys
        if not pattern:
            raise _lacking("redis.tenant_keys")
        return pattern.replace("{tenant}", tenant.translate(_GLOB))

    @property
    def _cli(self) -> str:
        """A shell function; the password is the container's own and stands in no argument."""
        block = self._block
        secret = f'REDISCLI_AUTH="${block.password}" ' if block.password else ""
        user = f"--user {quote(block.user)} " if block.password else ""
        return f'cli() {{ {secret}redis-cli -e --no-auth-warning {user}"$@"; }}'

    @property
    def _holding(self) -> Holding:
        if self._maybe is None:
            raise _lacking("redis")
        return self._maybe

    @property
    def _block(self) -> RedisBlock:
        if self._maybe_block is None:
            raise _lacking("redis")
        return self._maybe_block


def _was(name: str) -> str:
    """Its file, which lives as long as the container runs, as what CONFIG SET does."""
    return quote(f"/dev/shm/{name}")


def _back(name: str) -> str:
    """Put back what the file of `name` says, where there is one, and remove it."""
    was = _was(name)
    return f'[ ! -e {was} ] || {{ eval "cli CONFIG SET $(cat {was})" >/dev/null && rm -f {was}; }}'


def parse_info(text: str) -> dict[str, float]:
    """INFO's numbers by name; of `name:a=1,b=2` each one, as `name.a`."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        for part in value.split(","):
            key, equals, number = part.rpartition("=")
            try:
                found[f"{name}.{key}" if equals else name] = float(number)
            except ValueError:  # a word, not a number
                continue
    return found


def _lacking(what: str) -> LabError:
    mend = "the fault needs it; docs/stack-file.md"
    return UsageError("is not in the stack file", where=f"x-lab.stores.{what}", mend=mend)
