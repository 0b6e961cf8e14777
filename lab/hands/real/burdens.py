"""Burdens as processes by `exec`: they live in the container's cgroup, and die with it."""

from __future__ import annotations

from signal import SIGKILL

from anyio import fail_after, move_on_after, sleep, to_thread

from lab.engine.api import Engine
from lab.errors import LabError
from lab.hands.containers import AgentProcess
from lab.hands.real.containers import Process, RunContainers

SECONDS = 5.0
"""A process is there, or gone, well within this."""

_DOOM = 'echo 1000 > "/proc/$1/oom_score_adj" 2>/dev/null && cat "/proc/$1/oom_score_adj"'


class ExecBurdens:
    """The `Burdens` of a running stack. The service's image needs `sh`."""

    def __init__(self, engine: Engine, containers: RunContainers) -> None:
        self._engine, self._containers = engine, containers

    async def put(self, service: str, mark: str, script: str, *words: str) -> None:
        """Start it without waiting for its end, and see it in the process table."""
        if await self._marked(service, mark):
            return
        container = self._containers.id_of(service)
        await to_thread.run_sync(self._engine.begin, container, ["sh", "-c", script, mark, *words])
        try:
            with fail_after(SECONDS):
                while not await self._marked(service, mark):  # noqa: ASYNC110 - nobody tells
                    await sleep(0.02)
        except TimeoutError as late:
            raise LabError("the burden did not start", where=f"service {service}") from late

    async def lift(self, service: str, mark: str) -> None:
        """Kill them until none is seen."""
        try:
            with fail_after(SECONDS):
                while there := await self._marked(service, mark):
                    for process in there:
                        one = AgentProcess(service, process.pid, process.started)
                        await self._containers.kill_process(one, SIGKILL)
        except TimeoutError as late:
            raise LabError("the burden does not end", where=f"service {service}") from late

    async def exhaust(self, service: str, mark: str, script: str) -> None:
        """Doom the main process, begin, and wait for the kernel's kill."""
        await self._doom(service)
        container = self._containers.id_of(service)
        await to_thread.run_sync(self._engine.begin, container, ["sh", "-c", script, mark])
        with move_on_after(SECONDS):
            while await self._containers.running(service):  # noqa: ASYNC110 - nobody tells
                await sleep(0.02)

    async def _doom(self, service: str) -> None:
        """Raise the main process's `oom_score_adj` to its most; raising needs no privilege."""
        table = await self._containers.process_table(service)
        main = _main(table)
        if main is None:
            raise LabError("it does not run", where=f"service {service}")
        container = self._containers.id_of(service)
        words = ["sh", "-c", _DOOM, "sh", str(main.pid)]
        _, output = await to_thread.run_sync(self._engine.execute, container, words)
        if output.strip() != b"1000":
            raise LabError("its main process cannot be marked", where=f"service {service}")

    async def _marked(self, service: str, mark: str) -> tuple[Process, ...]:
        if not await self._containers.running(service):
            return ()
        table = await self._containers.process_table(service)
        return tuple(row for row in table if mark in row.args and row.state != "Z")


def _main(table: tuple[Process, ...]) -> Process | None:
    """The oldest child of the first process, or that itself where there is no init."""
    born = sorted(table, key=lambda row: (row.started, row.pid))
    return next((row for row in born if row.parent == 1), born[0] if born else None)
