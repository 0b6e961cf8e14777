"""The network namespaces of a running stack, worked on by sidecars; the cable by the engine.

Where a service is one end of a link, its packets are known by the link's port, and at the consumer
also by the address of the interposer in the consumer's own network. At the server they are those of
all consumers: the interposer alone talks to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from anyio import Lock, to_thread

from lab.engine.api import Engine
from lab.engine.cable import plug, plugged, unplug
from lab.engine.netfilter import End, Flow, Namespace, discipline, flow_of, jumps, rules
from lab.engine.netns import Entry, enter
from lab.errors import LabError, UsageError
from lab.hands.network import Counts, Drop, Shape, Shaped
from lab.system import Census

T = TypeVar("T")

OWN, KINDS = "crosstalk-", ("tbf", "netem")
"""What tells the lab's rules and queues from anybody else's."""

NO_KIND = "qdisc kind is unknown"
"""tc's words where the kernel has not the module."""


NO_END = "the kernel cannot end sockets"
"""The sidecar's own words (`compose/images/netns/netns`)."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One consumer's side of a link: the name `redis@app`, who talks on it, and to whom."""

    name: str
    network: str
    port: int
    upstream: str

    @property
    def server(self) -> tuple[str, int]:
        """The service that listens, and its port."""
        host, _, port = self.upstream.rpartition(":")
        return host.removesuffix("-origin"), int(port)


@dataclass(frozen=True, slots=True)
class Grid:
    """Where everything is: services and the interposer by container id, wires, home networks."""

    run: str
    ids: Mapping[str, str]
    interposer: str
    wires: Sequence[Wire]

    def named(self, network: str) -> str:
        """A network's name in the engine."""
        return f"crosstalk-{self.run}-{network}"

    def home(self, service: str, shared: str) -> str:
        """The one network a service is in: its own where it consumes a link, else `shared`."""
        consumers = {wire.network for wire in self.wires}
        return self.named(service if service in consumers else shared)


class RunNetworks:
    """The `Networks` of a running stack. One call a service at a time; none outlives its await."""

    def __init__(self, engine: Engine, grid: Grid, shared: str) -> None:
        """shared: the network of the services that consume nothing."""
        self._engine, self._grid, self._shared = engine, grid, shared
        self._turns: defaultdict[str, Lock] = defaultdict(Lock)
        self._entries: dict[tuple[str, str], Entry] = {}

    async def drop(self, drop: Drop) -> None:
        """Rules in two chains of the lab's own, put in as one transaction."""

        def work() -> None:
            end = self._end(drop.service, drop.link) if drop.link else None
            flows = self._endable(drop.service) if drop.packets == "standing" else ()
            mine = [flow for flow in flows if end is None or end.holds(flow)]
            asked = rules(drop, end, mine)
            there = self._do(drop.service, "put", drop.name, *asked)
            if set(there.texts(drop.name)) != {*asked, *jumps(drop.name)}:
                raise LabError("the rules did not take hold", where=f"service {drop.service}")

        await self._in_turn(drop.service, work)

    async def undrop(self, service: str, name: str) -> None:
        """Take chains and jumps out again; a namespace that is gone took them along."""

        def work() -> None:
            if self._running(service) and self._do(service, "take", name).texts(name):
                raise LabError("the rules are still there", where=f"service {service}")

        await self._in_turn(service, work)

    async def forget(self, service: str, name: str) -> None:
        """SOCK_DESTROY (sock_diag(7)) while the drop still swallows the resets of it."""

        def work() -> None:
            if not self._running(service):
                return
            texts = self._do(service, "read").texts(name)
            flows = [flow for flow in map(flow_of, texts) if flow is not None]
            if not flows:
                return
            left = self._do(service, "kill", name, *(flow.as_filter for flow in flows)).flows
            if set(left) & set(flows):
                raise LabError("its sockets cannot be ended here", where=f"service {service}")

        await self._in_turn(service, work)

    async def counts(self, service: str, name: str) -> Counts:
        """The rules' own packet counters."""
        return await self._in_turn(service, lambda: self._seen(service).counts(name))

    async def shape(self, shape: Shape) -> None:
        """A token bucket (tc-tbf(8)) or netem (tc-netem(8)) on every interface but loopback."""
        where, handle = f"service {shape.service}", _handle(shape.name)

        def work() -> None:
            try:
                there = self._do(shape.service, "shape", handle, *discipline(shape))
            except LabError as error:
                if NO_KIND in error.what and not shape.rate_kbps:
                    raise UsageError(
                        "this kernel cannot delay packets: it has no netem",
                        where=where,
                        mend="`modprobe sch_netem` on its host; or `latency`, without it",
                    ) from error
                raise
            mine = [queue for queue in there.queues if queue.handle == f"{handle}:"]
            rates = {queue.options.get("rate") for queue in mine}
            if not mine or (shape.rate_kbps and rates != {shape.rate_kbps * 1000}):
                raise LabError("the shape did not take hold", where=where)

        await self._in_turn(shape.service, work)

    async def unshape(self, service: str, name: str) -> None:
        """Take the bucket of that name off; another one stays."""

        def work() -> None:
            if not self._running(service):
                return
            there = self._do(service, "shape", _handle(name))
            if any(q.handle == f"{_handle(name)}:" for q in there.queues):
                raise LabError("its shape is still there", where=f"service {service}")

        await self._in_turn(service, work)

    async def shaped(self, service: str, name: str) -> Shaped:
        """The bucket's own counters."""
        return await self._in_turn(service, lambda: self._seen(service).shaped(_handle(name)))

    async def disconnect(self, service: str) -> None:
        """The engine takes the container out of its network."""

        def work() -> None:
            container, network = self._container(service), self._home(service)
            unplug(self._engine, container, network)
            if plugged(self._engine, container, network):
                raise LabError("its cable is still in", where=f"service {service}")

        await self._in_turn(service, work)

    async def connect(self, service: str) -> None:
        """The engine puts it back under its alias; the address is the lowest free one, as it was.

        The networks of a run have no fixed addresses, and whoever talks to the service looks its
        name up for every new connection.
        """
        alias = f"{service}-origin"

        def work() -> None:
            container, network = self._container(service), self._home(service)
            if not plugged(self._engine, container, network, alias):
                plug(self._engine, container, network, alias)
            if not plugged(self._engine, container, network, alias):
                raise LabError("its cable is not in", where=f"service {service}")

        await self._in_turn(service, work)

    async def namespace(self, service: str) -> Namespace:
        """All there is in a service's namespace."""
        return await self._in_turn(service, lambda: self._seen(service))

    async def residue(self) -> Census:
        """The lab's rules, queues and pulled cables, in the namespaces this hand has worked in."""
        found: dict[str, list[str]] = {"rule": [], "queue": [], "cable": []}
        for service in sorted(set(self._turns) & set(self._grid.ids)):
            seen = await self.namespace(service)
            found["rule"] += [f"{r.text} in {service}" for r in seen.rules if OWN in r.text]
            found["queue"] += [f"{q.kind} in {service}" for q in seen.queues if q.kind in KINDS]
            if not await to_thread.run_sync(self._plugged, service):
                found["cable"].append(f"of {service} is out")
        return {kind: tuple(names) for kind, names in found.items()}

    def _endable(self, service: str) -> tuple[Flow, ...]:
        """The connections that stand. Raises UsageError where `forget` could end none of them."""
        try:
            return self._do(service, "endable").flows
        except LabError as error:
            if NO_END not in error.what:
                raise
            raise UsageError(
                "this kernel cannot end sockets",
                where=f"service {service}",
                mend="it needs CONFIG_INET_DIAG_DESTROY; `isolate` does without",
            ) from error

    def _plugged(self, service: str) -> bool:
        at = self._container(service), self._home(service)
        return not self._running(service) or plugged(self._engine, *at)

    def _home(self, service: str) -> str:
        return self._grid.home(service, self._shared)

    def _seen(self, service: str) -> Namespace:
        return self._do(service, "read") if self._running(service) else Namespace((), (), ())

    def _running(self, service: str) -> bool:
        return self._engine.state(self._container(service)).running

    def _do(self, service: str, verb: str, *words: str) -> Namespace:
        """A container that was started anew has another namespace, which is told by itself."""
        container = self._container(service)
        life = (container, self._engine.state(container).started)
        if life not in self._entries:
            self._entries[life] = enter(self._engine, self._grid.run, container)
        return self._entries[life].work(verb, *words)

    def _container(self, service: str) -> str:
        if service not in self._grid.ids:
            known = ", ".join(sorted(self._grid.ids))
            raise UsageError(f"no service `{service}`", mend=f"services: {known}")
        return self._grid.ids[service]

    def _end(self, service: str, link: str) -> End:
        """The end of a link that a service is. Raises UsageError where it is none."""
        whole = {wire.name.partition("@")[0] for wire in self._grid.wires}
        for wire in self._grid.wires:
            if wire.network == service and link in (wire.name, wire.name.partition("@")[0]):
                where = self._engine.placed(self._grid.interposer).addresses
                return End(wire.port, where[self._grid.named(service)])
            if wire.server[0] == service and link == wire.name.partition("@")[0]:
                return End(wire.server[1])
        mend = "a part of a link is told apart only at its consumer" if "@" in link else ""
        known = f"links: {', '.join(sorted(whole))}"
        raise UsageError(f"`{service}` is no end of link `{link}`", mend=mend or known)

    async def _in_turn(self, service: str, work: Callable[[], T]) -> T:
        """One piece of work in a thread, which cancellation waits for: none goes on unseen."""
        async with self._turns[service]:
            return await to_thread.run_sync(work)


def _handle(name: str) -> str:
    """A drop's name ends in hex digits; a queue's handle is four of them, and not 0 (tc(8))."""
    return f"{int(name[-4:], 16) or 1:x}"
