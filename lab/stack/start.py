"""One start of a system, through Testcontainers: everything that can go side by side does.

Readiness is a service's own health check, run by the lab until it succeeds once: nothing goes on
probing inside the containers while a run measures. Nothing is removed here; `standing.py` sweeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple, TypeVar

from anyio import (
    Event,
    create_task_group,
    fail_after,
    sleep,
    to_thread,
)
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from lab.engine.api import Engine, labels, told
from lab.errors import LabError, one_line
from lab.hands.real.links import Listener, ToxiproxyLinks
from lab.stack.file import CONTROL_PORT, SystemFile
from lab.stack.fittings import KEEPER, KEEPER_IMAGE, fit, fitted, settle
from lab.stack.interposed import Interposed
from lab.stack.layout import Layout, label_of, layout_of
from lab.stack.plan import EDGE, TOXIPROXY, TOXIPROXY_IMAGE, Plan, create_settings, declared, probe
from lab.stack.reach import dead_end, leads_through, reach
from lab.stack.schema import Service, pairs
from lab.system import Endpoint

START_SECONDS = 60.0
"""A stack that is not ready by then has failed to start."""

_HOST = "127.0.0.1"
_WATCH_SECONDS = 0.1

Say = Callable[[str], None]
T = TypeVar("T")


class Endpoints(NamedTuple):
    """Where this host gets in: `Site`'s entrances and observers."""

    entrances: dict[tuple[str, str], Endpoint]
    observers: dict[str, Endpoint]


@dataclass
class Start:
    """What one start knows, and the events that its parts wait for."""

    engine: Engine
    system: SystemFile
    run: str
    folder: Path
    plan: Plan
    variables: Mapping[str, str]
    say: Say
    keep: bool
    fittings: frozenset[str] = frozenset()
    group: str = ""  # the cgroup that every container goes into; the engine's own without one
    links: ToxiproxyLinks = field(init=False)
    ids: dict[str, str] = field(default_factory=dict[str, str])
    timings: dict[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        self.began = monotonic()
        filled = self.system.filled_services(self.variables)
        filled.pop(self.system.per_tenant, None)  # one for every tenant, once there are any
        self.services = fitted(filled, self.system, self.fittings)
        self.made = {network: Event() for network in self.plan.networks}
        self.started = {name: Event() for name in self.services}
        self.ready = {name: Event() for name in self.services}
        self.ports: dict[int, int] = {}
        self.may_end = {
            needed
            for service in self.services.values()
            for needed, condition in service.conditions.items()
            if condition == "service_completed_successfully"
        }

    async def everything(self) -> Endpoints:
        """Start all parts. Every failure is one LabError, with the containers' logs on disk."""
        try:
            with one_line(), fail_after(START_SECONDS):
                await self._in_threads(self._check_images)
                await self._in_threads(self._fit)
                self._mark("images")
                await self._parts()
                await self._in_threads(self._settle)
                endpoints = self._endpoints()
                await reach([*endpoints.entrances.values(), *endpoints.observers.values()])
                await self._look()
        except LabError:
            await to_thread.run_sync(self.write_logs, self.folder / "logs")
            raise
        except TimeoutError as late:
            problem = await self._too_late()
            await to_thread.run_sync(self.write_logs, self.folder / "logs")
            raise problem from late
        self._mark("total")
        self.say(f"{self.system.name} is up in {self.timings['total']:.1f} s")
        return endpoints

    async def _too_late(self) -> LabError:
        """Which service is not ready; or, when all are, which way in leads nowhere."""
        waiting = [name for name, event in self.ready.items() if not event.is_set()]
        if not waiting and TOXIPROXY in self.timings:
            ways = self._endpoints()
            named = {f"observer {name}": at for name, at in ways.observers.items()}
            named |= {f"entrance {name}": at for (name, _), at in ways.entrances.items()}
            if closed := [name for name, at in named.items() if not await leads_through(at)]:
                return dead_end(closed[-1])
        slow = waiting[0] if waiting else TOXIPROXY
        return await to_thread.run_sync(self._told, slow, "is not ready")

    def write_logs(self, folder: Path) -> None:
        """Every container's log, to `<folder>/<service>.log`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, container in self.ids.items():
            text = self._log(container)
            (folder / f"{name}.log").write_text(text, encoding="utf-8")

    async def _parts(self) -> None:
        """Networks, volumes and containers side by side, under a watch for those that die."""
        async with create_task_group() as watched:
            watched.start_soon(self._watch)
            async with create_task_group() as parts:
                for network in self.plan.networks:
                    parts.start_soon(self._network, network)
                parts.start_soon(self._toxiproxy)
                for name in self.services:
                    parts.start_soon(self._service, name)
            watched.cancel_scope.cancel()

    def _check_images(self) -> None:
        """All images, in one call; and Ryuk, before threads race to start it."""
        there = self.engine.tags()
        fittings = (KEEPER_IMAGE,) if self.fittings else ()
        needed = (TOXIPROXY_IMAGE, *fittings, *(tag for tag, _ in self.system.images()))
        for tag in needed:
            if (tag if ":" in tag else f"{tag}:latest") not in there:
                raise LabError(f"the image {tag} is not here", mend="`make images` builds it")
        # Ryuk opens a port to everybody, and our own healer does its work; and a person's settings
        # for Testcontainers must not lead to another engine than the one that was checked.
        testcontainers_config.ryuk_disabled = True
        testcontainers_config.tc_properties.clear()
        for volume in self.system.volumes:
            self.engine.create_volume(self._named(volume), self._labels())

    def _fit(self) -> None:
        """Disks and clocks, for the faults that need them; blocking."""
        keeper = fit(self.engine, self.system, self.fittings, self._named, self._labels)
        self.ids |= {KEEPER: keeper} if keeper else {}

    def _settle(self) -> None:
        settle(self.engine, self.ids.get(KEEPER, ""), self.system, self._named)

    async def _network(self, name: str) -> None:
        """One network; all but the edge lead nowhere."""

        def work() -> None:
            made = Network(docker_network_kw={"internal": name != EDGE, "labels": self._labels()})
            made.name = self._named(name)
            made.create()

        await self._in_threads(work)
        self._mark(f"network {name}")
        self.made[name].set()

    async def _service(self, name: str) -> None:
        """One service: what it depends on, its network, its container, its health."""
        service = self.services[name]
        for needed, condition in service.conditions.items():
            events = self.started if condition == "service_started" else self.ready
            await events[needed].wait()
        home = self.plan.home[name]
        await self.made[home].wait()
        container = self._container(name, service)
        await self._in_threads(lambda: self._begin(name, container, f"{name}-origin", home))
        self.started[name].set()
        await self._healthy(name, probe(service))
        self._mark(name)
        self.ready[name].set()

    async def one_more(self, name: str, service: Service, home: str) -> None:
        """A further container in a network that is there, up to its health."""
        container = self._container(name, service)
        await self._in_threads(lambda: self._begin(name, container, f"{name}-origin", home))
        await self._healthy(name, probe(service))

    def _container(self, name: str, service: Service) -> DockerContainer:
        made = create_settings(service, name, self.system.folder, self._named(""))
        container = DockerContainer(service.image, env=made.environment)
        if made.command is not None:
            container.with_command(made.command)
        for source, target, rights in made.volumes:
            container.with_volume_mapping(source, target, rights)
        for mount in made.tmpfs:
            container.with_tmpfs_mount(mount)
        return container.with_kwargs(
            labels=pairs(service.labels) | self._labels(name) | declared(service),
            cgroup_parent=self.group or None,
            **made.others,
        )

    async def _toxiproxy(self) -> None:
        """Toxiproxy, in every network under the names it stands for, and then its proxies."""
        container = Interposed(TOXIPROXY_IMAGE, env={"LOG_LEVEL": "warn"}).with_kwargs(
            cgroup_parent=self.group or None,
            labels=self._labels(TOXIPROXY) | label_of(self.layout),
            cap_drop=["ALL"],
            read_only=True,
            security_opt=["no-new-privileges"],
        )
        inside = (CONTROL_PORT, *self.plan.published)
        container.ports = {f"{port}/tcp": (_HOST, None) for port in inside}  # pyright: ignore[reportAttributeAccessIssue] - docker-py's form for a chosen address and any port
        for made in self.made.values():
            await made.wait()
        container.joins = {self._named(n): names for n, names in self.plan.aliases.items()}
        await self._in_threads(lambda: self._begin(TOXIPROXY, container, TOXIPROXY, EDGE))
        placed = await self._in_threads(lambda: self.engine.placed(self.ids[TOXIPROXY]))
        self.ports = dict(placed.ports)
        addresses = {n: placed.addresses[self._named(n)] for n in self.plan.networks}
        control = Endpoint(_HOST, self.ports[CONTROL_PORT])
        self.links = ToxiproxyLinks(control, self.plan.faultable)
        await self.links.ready(START_SECONDS)
        await self.links.create(
            [
                Listener(p.name, f"{addresses[p.network]}:{p.port}", p.upstream)
                for p in self.plan.proxies
            ]
        )
        self._mark(TOXIPROXY)

    @property
    def layout(self) -> Layout:
        """What a later process has to know."""
        return layout_of(self.system, self.plan, self.may_end, self.variables["LAB_MODE"])

    def _begin(self, name: str, container: DockerContainer, alias: str, network: str) -> None:
        """Create and start one container; blocking."""
        home = Network()
        home.name = self._named(network)
        container.with_name(self._named(name)).with_network(home).with_network_aliases(alias)
        container.start()
        self.ids[name] = container.get_container_id()
        container.get_docker_client().client.close()

    async def _healthy(self, name: str, command: list[str] | None) -> None:
        """Wait until the health check succeeds, or, where it may end, until it ended well."""
        container = self.ids[name]
        if name in self.may_end:
            status = await self._in_threads(lambda: self.engine.wait(container), waits=True)
            if status != 0:
                raise await to_thread.run_sync(self._told, name, f"ended with {status}")
        elif command is not None:
            status, _ = await self._in_threads(
                lambda: self.engine.execute(container, command), waits=True
            )
            if status in (126, 127):
                raise LabError(
                    "its health check cannot be run", where=name, mend="it needs `sh` in the image"
                )
            if status != 0:
                raise await to_thread.run_sync(self._told, name, "died before it was healthy")

    async def _watch(self) -> None:
        """Raise as soon as a container that should run has ended; one engine call a look."""
        while True:
            await sleep(_WATCH_SECONDS)
            await self._look()

    async def _look(self) -> None:
        for each in await self._in_threads(lambda: self.engine.ended(self.run)):
            if each.service not in self.may_end:
                self.ids.setdefault(each.service, each.id)
                raise await to_thread.run_sync(self._told, each.service, f"has {each.status}")

    def _endpoints(self) -> Endpoints:
        entrances, observers = self.plan.entrances, self.plan.observers
        return Endpoints(
            {key: Endpoint(_HOST, self.ports[port]) for key, port in entrances.items()},
            {key: Endpoint(_HOST, self.ports[port]) for key, port in observers.items()},
        )

    def _told(self, name: str, what: str) -> LabError:
        """The failure of a service: its name, what happened, its last words, where its log is."""
        lines = self._log(self.ids[name], 20).splitlines() if name in self.ids else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        log = self.folder / "logs" / f"{name}.log"
        return LabError(f"{what}: {last[:300]}", where=f"service {name}", mend=f"its log: {log}")

    def _log(self, container: str, lines: int = 0) -> str:
        """A container's log, with every secret replaced by its variable's name."""
        text = self.engine.log(container, lines)
        for name, value in self.variables.items():
            if len(value) >= 32:
                text = text.replace(value, f"<{name}>")
        return text

    async def _in_threads(self, work: Callable[[], T], *, waits: bool = False) -> T:
        """Run a blocking engine call; what goes wrong is told in one line.

        Cancellation waits for a call that creates, so that the sweep after it sees everything; one
        that only `waits` is abandoned, and ends when its container goes.
        """
        return await to_thread.run_sync(told, work, abandon_on_cancel=waits)

    def _named(self, part: str) -> str:
        return f"crosstalk-{self.run}-{part}"

    def _labels(self, service: str = "") -> dict[str, str]:
        return labels(self.run, str(self.folder.resolve()), service, kept=self.keep)

    def _mark(self, part: str) -> None:
        self.timings[part] = monotonic() - self.began
