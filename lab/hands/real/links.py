"""The proxied edges of a running stack: toxiproxy-python behind one strict adapter.

The package keeps its server's address on a class, has no time-outs, lets HTTP 5xx pass and cannot
tell whether a write took hold. So here: a class of its own for every stack, one session with
time-outs and without the environment's proxies, every status checked, every write read back.

A link stands for all its proxies: `redis` is `redis@app` and `redis@worker`, an entrance `client`
is `client@quiet` and `client@noisy`. Each of those is also a link of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import quote

import msgspec
import requests
from anyio import Lock, fail_after, sleep, to_thread
from toxiproxy.api import (
    APIConsumer,
    validate_response,  # pyright: ignore[reportUnknownVariableType] - an untyped package
)
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from lab.errors import LabError
from lab.hands.links import Toxic
from lab.system import Endpoint

CALL_SECONDS = 3.0
"""The longest any call may take, its read-back included; a wedged control API shows after this."""

_CONNECT_SECONDS, _READ_SECONDS = 0.5, 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listener:
    """A proxy to create: `listen` is `address:port` inside the proxy's container."""

    name: str
    listen: str
    upstream: str


class _ToxicState(msgspec.Struct, frozen=True):
    """A toxic as the server tells it."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, int]


class _ProxyState(msgspec.Struct, frozen=True):
    """A proxy as the server tells it."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[_ToxicState, ...]


class _Api(APIConsumer):
    """The package's consumer, over one session; each stack has a subclass with its address."""

    session: requests.Session

    @classmethod
    def call(cls, method: str, path: str, body: object = None) -> bytes:
        """One request, strictly: anything but success raises LabError, a time-out included."""
        where = f"{method} {path}"
        try:
            response = cls.session.request(
                method,
                f"http://{cls.host}:{cls.port}{path}",
                json=body,
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            )
            validate_response(response)
        except (NotFound, InvalidToxic, ProxyExists) as refusal:
            raise _RefusedError(f"Toxiproxy refused: {_words(refusal)}", where=where) from refusal
        except requests.RequestException as error:
            raise LabError(
                f"Toxiproxy's control port does not answer: {type(error).__name__}", where=where
            ) from error
        if not response.ok:
            raise LabError(f"Toxiproxy answered {response.status_code}", where=where)
        return response.content


class _RefusedError(LabError):
    """A 4xx of Toxiproxy: it is well, and what was asked for does not fit."""


def _words(refusal: Exception) -> str:
    text: object = refusal.args[0] if refusal.args else ""
    return text.decode(errors="replace").strip() if isinstance(text, bytes) else str(text)


class ToxiproxyLinks:
    """The `Links` of a running stack. Calls come one at a time and never outlive their await."""

    def __init__(self, control: Endpoint, proxies: Sequence[str]) -> None:
        """control: Toxiproxy's API on this host; proxies: the names that faults may touch."""
        session = requests.Session()
        session.trust_env = False
        members = {"host": control.host, "port": control.port, "session": session}
        self._api = cast("type[_Api]", type("_StackApi", (_Api,), members))
        self._proxies = tuple(proxies)
        self._turn = Lock()

    async def ready(self, seconds: float) -> None:
        """Wait until the control port answers. Raises LabError when it does not in `seconds`."""
        problem: LabError | None = None
        try:
            with fail_after(seconds):
                while True:
                    try:
                        await to_thread.run_sync(self._api.call, "GET", "/version")
                        return
                    except LabError as error:
                        problem = error
                    await sleep(0.01)
        except TimeoutError as late:
            raise LabError(f"Toxiproxy did not start: {problem}") from late

    async def create(self, listeners: Sequence[Listener]) -> None:
        """Create all proxies in one call, and see that they are there as asked."""
        asked = [
            {"name": each.name, "listen": each.listen, "upstream": each.upstream, "enabled": True}
            for each in listeners
        ]

        def work() -> None:
            self._api.call("POST", "/populate", asked)
            there = self._read()
            for each in listeners:
                state = there.get(each.name)
                if state is None or (state.listen, state.upstream) != (each.listen, each.upstream):
                    raise LabError("the proxy did not come up as asked", where=each.name)

        await self._do("create proxies", work)

    async def add(self, link: str, toxic: Toxic) -> None:
        """Put a toxic on every proxy of the link, at toxicity 1 (any randomness is the lab's)."""
        names = self._of(link)
        asked = _ToxicState(toxic.name, toxic.type, toxic.stream, 1.0, dict(toxic.attributes))

        def work() -> None:
            for name in names:
                self._api.call("POST", f"/proxies/{quote(name)}/toxics", msgspec.to_builtins(asked))
            there = self._read()
            for name in names:
                seen = [t for t in there[name].toxics if t.name == toxic.name]
                if not seen or not _took(asked, seen[0]):
                    raise LabError(f"the toxic `{toxic.name}` did not take hold", where=name)

        await self._do(f"add `{toxic.name}` to {link}", work)

    async def remove(self, link: str, toxic_name: str) -> None:
        """Take a toxic off every proxy of the link; one that is not there is fine."""
        names = self._of(link)

        def work() -> None:
            for name in self._having(names, toxic_name):
                path = f"/proxies/{quote(name)}/toxics/{quote(toxic_name)}"
                try:
                    self._api.call("DELETE", path)
                except _RefusedError:
                    continue  # it went by itself; the read-back decides
            left = self._having(names, toxic_name)
            if left:
                raise LabError(f"the toxic `{toxic_name}` is still there", where=", ".join(left))

        await self._do(f"remove `{toxic_name}` from {link}", work)

    async def enable(self, link: str, enabled: bool) -> None:
        """Refuse or accept connections on every proxy of the link."""
        names = self._of(link)

        def work() -> None:
            for name in names:
                self._api.call("POST", f"/proxies/{quote(name)}", {"enabled": enabled})
            there = self._read()
            wrong = [name for name in names if there[name].enabled is not enabled]
            if wrong:
                raise LabError(f"enabled is not {enabled}", where=", ".join(wrong))

        await self._do(f"enable {link}" if enabled else f"disable {link}", work)

    async def toxics(self) -> dict[str, tuple[str, ...]]:
        """Proxy -> the names of its toxics, and `disabled`: what a heal must undo."""
        there = await self._do("read proxies", self._read)
        return {
            name: (*(t.name for t in state.toxics), *(() if state.enabled else ("disabled",)))
            for name, state in there.items()
        }

    async def residue(self) -> dict[str, tuple[str, ...]]:
        """The toxics on all proxies, and the proxies that are closed."""
        there = await self.toxics()
        named = [(proxy, name) for proxy, names in sorted(there.items()) for name in names]
        return {"toxic": tuple(f"{name} on {proxy}" for proxy, name in named)}

    def close(self) -> None:
        """Give back the connection."""
        self._api.session.close()

    def _of(self, link: str) -> tuple[str, ...]:
        names = tuple(proxy for proxy in self._proxies if link in _names(proxy))
        if not names:
            known = sorted({name for proxy in self._proxies for name in _names(proxy)})
            raise LabError(f"no link `{link}`", mend=f"links: {', '.join(known)}")
        return names

    def _read(self) -> dict[str, _ProxyState]:
        try:
            return msgspec.json.decode(
                self._api.call("GET", "/proxies"), type=dict[str, _ProxyState]
            )
        except msgspec.DecodeError as error:
            raise LabError(f"Toxiproxy's answer makes no sense: {error}") from error

    def _having(self, names: Sequence[str], toxic: str) -> list[str]:
        there = self._read()
        return [name for name in names if any(t.name == toxic for t in there[name].toxics)]

    async def _do(self, what: str, work: Callable[[], T]) -> T:
        """Run `work` in a thread, one at a time, under the deadline.

        The thread is not abandoned on cancellation: a write that arrives after the heal that should
        have undone it would be a fault nobody knows of. The session's time-outs bound the wait.
        """
        try:
            with fail_after(CALL_SECONDS):
                async with self._turn:
                    return await to_thread.run_sync(work)
        except TimeoutError as late:
            raise LabError(f"Toxiproxy took longer than {CALL_SECONDS:g} s", where=what) from late


def _names(proxy: str) -> tuple[str, ...]:
    """The links a proxy belongs to: itself, and the one it is a part of."""
    return tuple(dict.fromkeys((proxy.partition("@")[0], proxy)))


def _took(asked: _ToxicState, seen: _ToxicState) -> bool:
    """The server adds defaults for attributes that were not given."""
    same = (asked.type, asked.stream, asked.toxicity) == (seen.type, seen.stream, seen.toxicity)
    return same and asked.attributes.items() <= seen.attributes.items()
