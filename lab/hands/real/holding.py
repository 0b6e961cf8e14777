"""Work inside the container of one service: at once, or held until it is released.

Nothing here needs a port, a link or a secret of this process: commands run where the service runs,
with what its container has in its environment.
"""

from __future__ import annotations

from signal import SIGTERM
from time import monotonic

from anyio import fail_after, sleep, to_thread

from lab.engine.api import Engine
from lab.engine.held import HOLD, Wire, begun
from lab.engine.stream import Stream, streamed
from lab.errors import LabError
from lab.hands.containers import AgentProcess
from lab.hands.real.containers import RunContainers

HOLD_SECONDS = 5.0
"""What is not in place, or not undone, by then has failed."""

RUN_SECONDS = 8.0


class Holding:
    """`container` is the id of the service's container, of this run only."""

    def __init__(
        self, engine: Engine, containers: RunContainers, service: str, container: str
    ) -> None:
        self.service = service
        self._engine, self._containers, self._container = engine, containers, container
        self._wires: dict[str, Wire] = {}

    async def up(self) -> bool:
        """Whether the service runs and is not frozen: only then anything can be asked of it."""
        state = await self._containers.state(self.service)
        return state.running and not state.paused

    async def run(self, script: str) -> str:
        """The output of a shell script inside. Raises LabError with its last line."""
        command = ["sh", "-c", f"exec 2>&1\n{script}"]
        try:
            with fail_after(RUN_SECONDS):
                status, output = await to_thread.run_sync(
                    self._engine.execute, self._container, command, abandon_on_cancel=True
                )
        except TimeoutError as late:
            where = f"service {self.service}"
            raise LabError(f"no answer from inside in {RUN_SECONDS:g} s", where=where) from late
        text = output.decode(errors="replace")
        if status != 0:
            raise LabError(_last(text) or "it does not run", where=f"service {self.service}")
        return text

    def stream(self, script: str) -> Stream:
        """What a script inside goes on writing. Blocking. Raises LabError."""
        return streamed(self._engine, self._container, f"exec 2>&1\n{script}")

    async def hold(self, name: str, act: str, undo: str) -> None:
        """Do `act` in a shell that stays, and has `undo` to do when it ends.

        A hold of the same name is released first. Raises LabError when `act` fails.
        """
        await self.release(name)
        words = (name, f"exec 2>&1\n{act}", undo)
        wire = await to_thread.run_sync(begun, self._engine, self._container, words)
        self._wires[name] = wire
        if not await to_thread.run_sync(wire.held, HOLD_SECONDS):
            raise LabError(
                f"not in place: {wire.words() or 'it ended at once'}",
                where=f"service {self.service}",
            )

    def words(self, name: str) -> str:
        """The last line that the holder of `name` said."""
        wire = self._wires.get(name)
        return wire.words() if wire else ""

    async def release(self, name: str) -> None:
        """Let every holder of this name undo it, whoever began it, and wait until it has."""
        until = monotonic() + HOLD_SECONDS
        asked: set[AgentProcess] = set()
        while holders := await self._holders(name):
            for holder in holders - asked:
                await self._containers.kill_process(holder, SIGTERM)
            asked |= holders
            if monotonic() > until:
                raise LabError(f"`{name}` is still held", where=f"service {self.service}")
            await sleep(0.02)
        wire = self._wires.pop(name, None)
        if wire is not None:
            wire.close()

    async def _holders(self, name: str) -> set[AgentProcess]:
        """Shells that run `HOLD` under this name; none in a service that does not run."""
        if not await self.up():
            return set()
        rows = await self._containers.process_table(self.service)
        return {
            AgentProcess(self.service, row.pid, row.started)
            for row in rows
            if row.args[1:4] == ("-c", HOLD, name) and row.state != "Z"
        }


def _last(text: str) -> str:
    """The last line that says anything."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
