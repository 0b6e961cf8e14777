"""A run's own containers, by service name; nothing else can be reached through this.

Processes are seen and signalled from inside their container by one short `exec`, so that it works
wherever the engine runs; a pid counts only together with its start time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from signal import SIGKILL

from anyio import create_task_group, fail_after, sleep, to_thread

from lab.engine.api import Engine
from lab.errors import LabError, one_line
from lab.hands.containers import AgentProcess, Limits, Resource, ServiceState
from lab.stack.schema import AgentsBlock

EXEC_SECONDS = 10.0
"""A look or a signal inside a container takes 50 ms; the engine waits for one without an end."""

LOOKS, LOOK_SECONDS = 5, 0.2
"""How often, and how far apart, a service is looked into that runs and cannot be looked into."""

DYING_SECONDS = 5
"""How long a signalled service may take to end before it counts as one that ignores the signal."""

_TABLE = 'exec grep -azH "" /proc/[0-9]*/stat /proc/[0-9]*/cmdline 2>/dev/null'
KILL = """
signal=$1 failed=0
shift
for each; do
    pid=${each%:*}
    read -r stat < "/proc/$pid/stat" || continue
    set -- ${stat##*) }
    [ "${each#*:}" = "${20}" ] || continue
    kill -"$signal" "$pid" || ! [ -e "/proc/$pid" ] || failed=1
done
exit $failed
"""
"""signal, then pid:start ticks: field 22 of proc(5) stat is the 20th after the parenthesis."""

_GREP_DID = (0, 1, 2)
"""grep(1)'s own statuses; 2 when a process ended before its file was read."""

_LABS_OWN = re.compile(r"lab:|crosstalk-")
"""How the argument begins that a fault's process inside a container is known by."""

_LINE = re.compile(rb"/proc/(\d+)/(stat|cmdline):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Process:
    """A row of a container's process table. `state` is proc(5)'s letter: Z is a zombie.

    pid: inside the container; started: clock ticks since boot; args: empty for a zombie.
    """

    pid: int
    parent: int
    state: str
    started: int
    command: str
    args: tuple[str, ...]


class RunContainers:
    """The `Containers` of a running stack: `ids` is service -> container id, of this run only."""

    def __init__(self, engine: Engine, ids: Mapping[str, str], agents: AgentsBlock | None) -> None:
        self._engine, self._ids, self._agents = engine, dict(ids), agents

    def adopt(self, service: str, container: str) -> None:
        """One more container of the run, under the name of a service."""
        self._ids[service] = container

    def release(self, service: str) -> None:
        """A container that is about to go; one that is not known is fine."""
        self._ids.pop(service, None)

    async def agents(self) -> dict[str, AgentProcess]:
        """Tenant id -> its agent; of several processes that match, the oldest.

        Where every tenant has a container of its own (`SERVICE.TENANT`), each is looked into.
        """
        if self._agents is None:
            raise LabError("this system has no agents", mend="`x-lab.agents` says how to find them")
        services, found = self._agents.services, list[tuple[str, AgentProcess]]()

        async def look(name: str, argv: str) -> None:
            for row in await self.process_table(name):
                tenant = tenant_of(row.args, argv)
                if tenant and row.state != "Z":
                    found.append((tenant, AgentProcess(name, row.pid, row.started)))

        with one_line():
            async with create_task_group() as looks:
                for name in self._ids:
                    if name.partition(".")[0] in services:
                        looks.start_soon(look, name, self._agents.argv)
        agents: dict[str, AgentProcess] = {}
        for tenant, agent in sorted(found, key=lambda each: each[1].started):
            agents.setdefault(tenant, agent)
        return agents

    async def process_table(self, service: str) -> tuple[Process, ...]:
        """Every process in the service's container, zombies too, but not the one that looks.

        None in a service that does not run. Raises LabError when they cannot be read: in one that
        is frozen, or where the kernel lets no process be added. No table is not an empty one.
        """
        for _ in range(LOOKS):
            status, output = await self._run(service, "sh", "-c", _TABLE)
            rows = parse_table(output)
            if status in _GREP_DID and any(row.pid == 1 for row in rows):
                return tuple(row for row in rows if row.args[:2] != ("grep", "-azH"))
            now = await self.state(service)
            if not now.running:
                return ()
            if now.paused:
                break
            await sleep(LOOK_SECONDS)  # it may just be going down, or coming up
        raise LabError("its processes cannot be read", where=f"service {service}")

    async def kill_process(self, process: AgentProcess, signal: int) -> None:
        """Signal exactly this process; one that is gone, or whose pid is another's now, is left.

        Raises LabError when it could not be signalled in a service that runs.
        """
        await self.kill_processes(process.service, (process,), signal)

    async def kill_processes(
        self, service: str, processes: Sequence[Process | AgentProcess], signal: int
    ) -> None:
        """As `kill_process`, for several of one service at once."""
        words = (str(int(signal)), *(f"{each.pid}:{each.started}" for each in processes))
        status, _ = await self._run(service, "sh", "-c", KILL, "sh", *words)
        pids = ", ".join(str(each.pid) for each in processes)
        took = status == 0 or not await self.running(service)
        _took(took, service, f"its process {pids} cannot be signalled")

    async def kill(self, service: str, signal: int) -> None:
        """Signal a service's main process; one that is not running is fine.

        Returns once it has ended, so that a heal does not find it dying and take it for alive. One
        that ignores the signal for `DYING_SECONDS` runs on, which is an error only after SIGKILL.
        """
        container = self._id(service)

        def work() -> bool:
            self._engine.kill(container, signal)
            return self._engine.ended_within(container, DYING_SECONDS)

        ended = await to_thread.run_sync(work)
        _took(ended or signal != SIGKILL, service, "it survived SIGKILL")

    async def start(self, service: str) -> None:
        """Start a stopped service; a running one is fine."""
        if not (await self.state(service)).running:
            await to_thread.run_sync(self._engine.start, self._id(service))
            _took((await self.state(service)).running, service, "it ended as soon as it started")

    async def stop(self, service: str) -> None:
        """Ask the service to end, and kill it when its grace is over; a stopped one is fine."""
        await to_thread.run_sync(self._engine.stop, self._id(service))
        _took(not (await self.state(service)).running, service, "it did not stop")

    async def pause(self, service: str, paused: bool) -> None:
        """Freeze or thaw all its processes; as they already are is fine."""
        await to_thread.run_sync(self._engine.pause, self._id(service), paused)
        _took((await self.state(service)).paused is paused, service, f"paused is not {paused}")

    async def limit(self, service: str, resource: Resource, amount: float) -> None:
        """Set a limit above 0; the engine refuses memory below what is in use (cgroup v1)."""
        await to_thread.run_sync(self._engine.limit, self._id(service), resource, amount)
        await self._limited(service, resource, amount)

    async def unlimit(self, service: str, resource: Resource) -> None:
        """Put the limit back to what the container was created with; as it already is is fine."""
        declared = await to_thread.run_sync(self._engine.declared, self._id(service))
        amount: float = getattr(declared, resource)
        if getattr((await self.state(service)).limits, resource) != amount:
            await to_thread.run_sync(self._engine.limit, self._id(service), resource, amount)
        await self._limited(service, resource, amount)

    async def _limited(self, service: str, resource: Resource, amount: float) -> None:
        """Read the limit back."""
        seen: float = getattr((await self.state(service)).limits, resource)
        _took(abs(seen - amount) < 1e-4, service, f"{resource} is {seen:g}, not {amount:g}")

    async def state(self, service: str) -> ServiceState:
        """How the service's container is right now."""
        return await to_thread.run_sync(self._engine.state, self._id(service))

    async def residue(self) -> dict[str, tuple[str, ...]]:
        """Services that do not run, are frozen, have other limits than they were made with, or
        hold a process of a fault's. See `lab/healing/residue.py`.
        """
        found: list[str] = []

        async def look(service: str) -> None:
            container = self._ids[service]
            now = await self.state(service)
            declared = await to_thread.run_sync(self._engine.declared, container)
            found.extend(f"{service} {what}" for what in _not_calm(now, declared))
            if now.running and not now.paused:
                rows = await self.process_table(service)
                marks = (arg for row in rows for arg in row.args if _LABS_OWN.match(arg))
                found.extend(f"{service} runs {mark}" for mark in marks)

        with one_line():
            async with create_task_group() as looks:
                for service in list(self._ids):
                    looks.start_soon(look, service)
        return {"service": tuple(sorted(found))}

    async def running(self, service: str) -> bool:
        """Whether the service's container runs right now."""
        return (await self.state(service)).running

    def id_of(self, service: str) -> str:
        """The service's container. Raises LabError for a service that is not there."""
        return self._id(service)

    @property
    def ids(self) -> Mapping[str, str]:
        """Service -> its container, as it is now."""
        return dict(self._ids)

    @property
    def agents_block(self) -> AgentsBlock | None:
        """How agents are recognised; None where there are none."""
        return self._agents

    def main_process(self, service: str) -> int:
        """The host's pid of the service's main process; 0 when it does not run. Blocking."""
        return self._engine.placed(self._id(service)).pid

    def _id(self, service: str) -> str:
        if service not in self._ids:
            raise LabError(f"no service `{service}`", mend=f"services: {', '.join(self._ids)}")
        return self._ids[service]

    async def _run(self, service: str, *command: str) -> tuple[int, bytes]:
        """Exit status and standard output of a short command inside the service's container."""
        try:
            with fail_after(EXEC_SECONDS):
                return await to_thread.run_sync(
                    self._engine.execute, self._id(service), command, abandon_on_cancel=True
                )
        except TimeoutError as late:
            raise LabError(f"no answer from inside in {EXEC_SECONDS:g} s", where=service) from late


def _not_calm(now: ServiceState, declared: Limits) -> Iterator[str]:
    """What about a service is not as its container was made."""
    if not now.running:
        yield "does not run"
    if now.paused:
        yield "is frozen"
    for name in ("cores", "memory_bytes", "pids"):
        seen, meant = getattr(now.limits, name), getattr(declared, name)
        if abs(seen - meant) >= 1e-4:
            yield f"has {name}={seen:g}, not {meant:g}"


def _took(took: bool, service: str, otherwise: str) -> None:
    """Raise LabError when what was asked of a service did not take hold."""
    if not took:
        raise LabError(otherwise, where=f"service {service}")


def tenant_of(args: Sequence[str], argv: str) -> str | None:
    """The tenant in a command line that holds the words of `argv` one after another.

    A program is known with and without its folder. A shell that carries the words inside one
    argument is not the agent.
    """
    words = [re.escape(word).replace(r"\{tenant\}", "([a-z0-9-]{1,40})") for word in argv.split()]
    words[0] = rf"(?:.*/)?{words[0]}"
    for at in range(len(args) - len(words) + 1):
        matches = [re.fullmatch(word, arg) for word, arg in zip(words, args[at:], strict=False)]
        if all(matches):
            return next(match[1] for match in matches if match and match.groups())
    return None


def parse_table(output: bytes) -> tuple[Process, ...]:
    """Rows from `/proc/PID/stat` and `/proc/PID/cmdline`, each piece `path:content` and a NUL."""
    stats: dict[int, bytes] = {}
    arguments: dict[int, list[str]] = {}
    for piece in output.split(b"\0"):
        match = _LINE.match(piece)
        if match is None:
            continue
        pid = int(match[1])
        if match[2] == b"stat":
            stats[pid] = match[3]
        else:
            arguments.setdefault(pid, []).append(match[3].decode(errors="replace"))
    return tuple(_row(pid, stat, arguments.get(pid, [])) for pid, stat in stats.items())


def _row(pid: int, stat: bytes, args: list[str]) -> Process:
    """proc(5): the command stands in parentheses and may hold any character, `)` included."""
    head, _, tail = stat.decode(errors="replace").rpartition(")")
    fields = tail.split()
    return Process(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        started=int(fields[19]),
        command=head.partition("(")[2],
        args=tuple(args),
    )
