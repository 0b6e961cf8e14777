"""Clocks of a run's services: an offset in a file that each of their processes has mapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time

from anyio import to_thread

from lab.engine.api import Engine
from lab.engine.keeper import CLOCK_FOLDER, clocks, set_clock
from lab.errors import LabError, UsageError
from lab.system import Census


class FileClocks:
    """The `Clocks` of a running stack.

    find: service -> container, for those with a clock; blocking, and asked when it is needed.
    """

    def __init__(self, engine: Engine, keeper: str, find: Callable[[], Mapping[str, str]]) -> None:
        self._engine, self._keeper, self._find = engine, keeper, find

    async def skew(self, service: str, offset_seconds: float) -> None:
        """Write the offset; every process of the service reads it at its next look at the time."""
        await self._container(service)
        await to_thread.run_sync(set_clock, self._engine, self._keeper, service, offset_seconds)

    async def offset_seconds(self, service: str) -> float:
        """`date` inside the service, against this host's clock: good to a few hundredths."""
        container = await self._container(service)

        def work() -> float:
            before = time()
            status, output = self._engine.execute(container, ["date", "+%s.%N"])
            if status != 0:
                raise LabError("its time cannot be read", where=f"service {service}")
            return float(output) - (before + time()) / 2

        return await to_thread.run_sync(work)

    async def heeded(self, service: str) -> bool:
        """Whether any process that is not ours has the library mapped: a static binary has not."""
        container = await self._container(service)
        return await to_thread.run_sync(_mapped, self._engine, container)

    async def residue(self) -> Census:
        """Clocks that were set and are not true again."""
        if not await to_thread.run_sync(self._find):
            return {}
        there = await to_thread.run_sync(clocks, self._engine, self._keeper)
        return {"clocks": tuple(f"{name} {off:+g} s" for name, off in there.items() if off)}

    async def _container(self, service: str) -> str:
        ids = await to_thread.run_sync(self._find)
        if service not in ids:
            known = ", ".join(ids) or "none: no `x-lab.clocks`, or not fitted"
            raise UsageError(f"`{service}` has no clock of its own", mend=f"clocks: {known}")
        return ids[service]


def _mapped(engine: Engine, container: str) -> bool:
    """Whether a process in the container has the library; only its own user may look into one."""
    bare = ["env", "-u", "LD_PRELOAD", "sh", "-c"]
    _, users = engine.execute(container, [*bare, "stat -c %u /proc/[0-9]* 2>/dev/null | sort -u"])
    look = f"grep -l {CLOCK_FOLDER}/clock.so /proc/[0-9]*/maps 2>/dev/null"
    seen = (engine.execute(container, [*bare, look], user)[1] for user in users.decode().split())
    return any(output.strip() for output in seen)
