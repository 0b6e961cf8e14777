"""Finds a run's containers and its tenants' own processes on this host, and finds them again.

Without an `exec` a second: a container's processes are listed by its cgroup, and only those that
are new are looked at. proc(5), cgroups(7).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lab.errors import LabError
from lab.hands.real.containers import RunContainers, tenant_of
from lab.monitor.monitor import ResourceMonitor
from lab.procfs import TICKS_PER_SECOND, cgroup_folders, started_ticks
from lab.resources import Kind, Source

SETTLED_TICKS = 200
"""Clock ticks (2 s) after which a process does not become another program any more."""
ABSENT_SECONDS = 2.0
"""How long a container that could not be found is left alone before the engine is asked again."""

Tell = Callable[[str, str], None]
"""What could not be measured, and why."""


def processes_of(pid: int) -> tuple[int, ...]:
    """The host's pids in the cgroup of this one. Raises ProcessLookupError when it has gone."""
    return processes_in(group_of(pid))


def group_of(pid: int) -> Path:
    """The cgroup that counts the CPU of this process. Raises ProcessLookupError."""
    try:
        folders = cgroup_folders(pid)
    except OSError as gone:
        raise ProcessLookupError(str(gone)) from gone
    return folders.get("cpuacct") or folders[""]


def processes_in(group: Path) -> tuple[int, ...]:
    """The host's pids in a cgroup. Raises ProcessLookupError when it has gone."""
    try:
        return tuple(map(int, (group / "cgroup.procs").read_bytes().split()))
    except OSError as gone:
        raise ProcessLookupError(str(gone)) from gone


def arguments_of(pid: int) -> tuple[str, ...]:
    """The command line of a process; none of a zombie, or of one that has gone."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        return tuple(word.decode(errors="replace") for word in words)
    return ()


class Finder:
    """A `Feed` that keeps a monitor on the containers and agents that are there right now.

    tenants: id in the system -> name. tell: hears once of each service that cannot be measured.
    """

    def __init__(self, containers: RunContainers, tenants: Mapping[str, str], tell: Tell) -> None:
        self._containers, self._tenants, self._tell = containers, tenants, tell
        self._mains: dict[str, Source] = {}
        self._groups: dict[str, Path] = {}
        self._agents: dict[str, Source] = {}
        self._strangers: set[int] = set()
        self._absent: dict[str, float] = {}
        self._told: set[str] = set()

    @property
    def mains(self) -> Mapping[str, Source]:
        """Service -> its container, for those that are being measured."""
        return dict(self._mains)

    def tenant(self, words: Sequence[str]) -> str | None:
        """Whose agent this command line is: the tenant's name."""
        block = self._containers.agents_block
        return self._tenants.get(tenant_of(words, block.argv) or "") if block else None

    def poll(self, monitor: ResourceMonitor) -> None:
        """Watch what is new. A container that has gone is asked for again after a while."""
        there = monitor.sources
        ids = self._containers.ids
        for service, container in ids.items():
            source = self._mains.get(service)
            if source is None or source not in there or source.container != container:
                self._mains.pop(service, None)
                self._find(monitor, service, container)
        for service in self._mains.keys() - ids.keys():
            monitor.forget(self._mains.pop(service))
        if (block := self._containers.agents_block) is not None:
            self._agents = {name: a for name, a in self._agents.items() if a in there}
            for service, main in self._mains.items():
                if service.partition(".")[0] in block.services:
                    self._look(monitor, main, self._groups[service])

    def close(self) -> None:
        """Nothing is held here."""

    def _find(self, monitor: ResourceMonitor, service: str, container: str) -> None:
        now = time.monotonic()
        if now < self._absent.get(container, 0.0):
            return
        self._absent[container] = now + ABSENT_SECONDS
        try:
            pid = self._containers.main_process(service)
            if pid == 0:
                return  # it does not run, which is no secret
            source = Source(Kind.CONTAINER, service, container, pid, started_ticks(pid))
            self._groups[service] = group_of(pid)
            monitor.watch_container(source)
        except ProcessLookupError as gone:
            self._once(service, f"its process is not to be seen on this host: {gone}")
        except (LabError, OSError) as error:
            self._once(service, str(error))
        else:
            self._mains[service] = source
            self._absent.pop(container, None)

    def _look(self, monitor: ResourceMonitor, main: Source, group: Path) -> None:
        """Of several processes that match, the oldest is the agent, as for every fault."""
        try:
            pids = processes_in(group)
        except ProcessLookupError:
            return  # its reader tells
        self._strangers &= set(pids)
        known = {source.pid for source in self._agents.values()}
        found: list[Source] = []
        for pid in (p for p in pids if p not in self._strangers and p not in known):
            name = self.tenant(arguments_of(pid))
            with suppress(ProcessLookupError):
                started = started_ticks(pid)
                if name:
                    found.append(Source(Kind.AGENT, name, main.container, pid, started))
                elif _uptime_ticks() - started > SETTLED_TICKS:
                    self._strangers.add(pid)
        for source in _oldest(found):
            if source.name not in self._agents:
                with suppress(ProcessLookupError):
                    monitor.watch_process(source)
                    self._agents[source.name] = source

    def _once(self, service: str, why: str) -> None:
        if service not in self._told:
            self._told.add(service)
            self._tell(f"service {service} cannot be measured", why)


def _oldest(found: Iterable[Source]) -> Iterable[Source]:
    return sorted(found, key=lambda source: (source.started, source.pid))


def _uptime_ticks() -> float:
    """Since boot, as processes' start times are counted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND
