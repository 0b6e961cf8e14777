"""Faults on one tenant: what its own side, or its own agent, can suffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from signal import SIGKILL
from typing import ClassVar

from lab.fault import Effect, Window
from lab.hands import Lab


@dataclass(frozen=True, slots=True)
class CrashAgent:
    """SIGKILL of one tenant's agent process. The platform has to notice and start another.

    tenant: the logical name, as in `target-0`.
    """

    tenant: str
    kind: ClassVar[str] = "crash_agent"

    @property
    def target(self) -> str:
        """Whose agent dies."""
        return f"agent of {self.tenant}"

    async def inject(self, lab: Lab) -> None:
        """Find the agent in the process table and kill it.

        An agent that is not there is the system's doing, not a failure of the lab: nothing is
        killed, and the effect says so.
        """
        found = (await lab.containers.agents()).get(lab.tenants[self.tenant])
        if found is not None:
            await lab.containers.kill_process(found, SIGKILL)

    async def observe(self, lab: Lab) -> Mapping[str, float]:
        """When the agent's process began, in clock ticks; 0 while there is none."""
        found = (await lab.containers.agents()).get(lab.tenants[self.tenant])
        return {f"agent.{self.tenant}.started": float(found.started) if found else 0.0}

    async def heal(self, lab: Lab) -> None:
        """Nothing to undo: coming back is the platform's own duty, and is judged."""

    def effect(self, before: Window, during: Window) -> Effect:
        """Confirmed when the process that ran before is gone or is another one now."""
        name = f"agent.{self.tenant}.started"
        changed = during.counters.get(name, 0.0)
        how = "the process that ran is gone" if changed else "there was none, or it still runs"
        return Effect(changed != 0, how, {"start_time_change_ticks": changed})
