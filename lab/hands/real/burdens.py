"""Burdens as processes by `exec`: they live in the container's cgroup, and die with it."""

from __future__ import annotations

from signal import SIGKILL

from anyio import fail_after, move_on_after, sleep, to_thread

from lab.engine.api import Engine
from lab.errors import LabError
from lab.hands.real.containers import Process, RunContainers

SECONDS = 5.0
"""A process is there, or gone, well within this."""

HOLD_SECONDS = 60.0
"""Filling a few GiB of memory takes this long on a slow machine."""

DOOMED = b"1000"
_DOOM = 'echo 1000 > "/proc/$1/oom_score_adj" 2>/dev/null; cat "/proc/$1/oom_score_adj"'
_SPARE = (
    'read -r score < "/proc/$1/oom_score_adj"; [ "$score" != 1000 ] ||'
    ' echo 0 > "/proc/$1/oom_score_adj"; cat "/proc/$1/oom_score_adj"'
)
"""proc(5): 1000 is the most; what was raised without a privilege may be lowered without one."""


class ExecBurdens:
    """The `Burdens` of a running stack. The service's image needs `sh`."""

    def __init__(self, engine: Engine, containers: RunContainers) -> None:
        self._engine, self._containers = engine, containers

    async def put(
        self, service: str, mark: str, script: str, *words: str, stopped: bool = False
    ) -> None:
        """Start it without waiting for its end, and see it in the process table."""
        if await self._marked(service, mark):
            return
        container = self._containers.id_of(service)
        await to_thread.run_sync(self._engine.begin, container, ["sh", "-c", script, mark, *words])
        try:
            with fail_after(HOLD_SECONDS if stopped else SECONDS):
                while not _ready(await self._marked(service, mark), stopped):  # noqa: ASYNC110
                    await sleep(0.02)
        except TimeoutError as late:
            raise LabError("the burden did not start", where=f"service {service}") from late

    async def lift(self, service: str, *marks: str) -> None:
        """Kill them until none is seen."""
        try:
            with fail_after(SECONDS):
                while there := await self._marked(service, *marks):
                    await self._containers.kill_processes(service, there, SIGKILL)
        except TimeoutError as late:
            raise LabError("the burden does not end", where=f"service {service}") from late

    async def exhaust(self, service: str, mark: str, script: str) -> None:
        """Doom the main process, begin, and wait for the kernel's kill."""
        if await self._score(service, _DOOM) != DOOMED:
            raise LabError("its main process cannot be marked", where=f"service {service}")
        container = self._containers.id_of(service)
        await to_thread.run_sync(self._engine.begin, container, ["sh", "-c", script, mark])
        with move_on_after(SECONDS):
            while await self._containers.running(service):  # noqa: ASYNC110 - nobody tells
                await sleep(0.02)

    async def spare(self, service: str) -> None:
        """Put the score back; one that does not run has the usual one when it is started."""
        if not await self._containers.running(service):
            return
        if await self._score(service, _SPARE) == DOOMED:
            raise LabError("its main process stays marked", where=f"service {service}")

    async def _score(self, service: str, script: str) -> bytes:
        """What a script makes of the main process's `oom_score_adj`."""
        main = _main(await self._containers.process_table(service))
        if main is None:
            raise LabError("it does not run", where=f"service {service}")
        words = ["sh", "-c", script, "sh", str(main.pid)]
        container = self._containers.id_of(service)
        _, output = await to_thread.run_sync(self._engine.execute, container, words)
        return output.strip()

    async def _marked(self, service: str, *marks: str) -> tuple[Process, ...]:
        table = await self._containers.process_table(service)
        return tuple(r for r in table if r.state != "Z" and not set(marks).isdisjoint(r.args))


def _ready(there: tuple[Process, ...], stopped: bool) -> bool:
    """Whether a burden is there, and, where it ends its work by stopping itself, has."""
    return bool(there) and (not stopped or all(row.state == "T" for row in there))


def _main(table: tuple[Process, ...]) -> Process | None:
    """The oldest child of the first process, or that itself where there is no init."""
    born = sorted(table, key=lambda row: (row.started, row.pid))
    return next((row for row in born if row.parent == 1), born[0] if born else None)
