"""A system file becomes running containers behind Toxiproxy, and is gone again afterwards."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from anyio import CancelScope, to_thread

from lab.engine.api import HANDS_SECONDS, engine
from lab.engine.belongings import residue, sweep
from lab.engine.shield import Shield, forwarders, shield_of
from lab.errors import ResidueError
from lab.hands import Lab
from lab.hands.real.containers import RunContainers
from lab.hands.real.links import ToxiproxyLinks
from lab.stack.file import SystemFile
from lab.stack.hands import hands
from lab.stack.plan import plan
from lab.stack.start import Say, Start
from lab.stack.tenants import accompanied
from lab.system import DriverFactory, Site

CLEAR_SECONDS = 30.0
"""A stack that is not gone by then is residue (exit 5)."""


@dataclass(frozen=True)
class Stack:
    """A running system. `lab`: what faults may touch; its real links and containers tell more.

    timings: seconds from the start until each part was ready.
    """

    site: Site
    lab: Lab
    links: ToxiproxyLinks
    timings: Mapping[str, float]
    start: Start
    shield: Shield | None = None

    @property
    def containers(self) -> RunContainers:
        """The real ones tell more than a fault may ask."""
        assert isinstance(self.lab.containers, RunContainers)
        return self.lab.containers

    def driver(self, factory: DriverFactory) -> DriverFactory:
        """The system's driver, and with it a container for each tenant where the mode wants it."""
        if not self.start.system.per_tenant:
            return factory
        return accompanied(factory, self.start, self.containers)

    def shelter(self, pid: int) -> None:
        """Take a process of the lab behind the run's shield, where there is one."""
        if self.shield is not None:
            self.shield.take([pid])

    async def logs(self, folder: Path) -> None:
        """Write every container's log to `<folder>/<service>.log`, secrets by their names."""
        await to_thread.run_sync(self.start.write_logs, folder)


@asynccontextmanager
async def standing(
    system: SystemFile,
    *,
    run: str,
    folder: Path,
    cohorts: Sequence[str],
    defects: Sequence[str] = (),
    mode: str = "",
    fittings: Collection[str] = (),
    shielded: bool = False,
    say: Say,
    keep: bool = False,
) -> AsyncGenerator[Stack]:
    """Hold the system up for the body; `keep` leaves it standing when the body ends well.

    run: goes into every label and name; folder: the run's own, for logs; cohorts: each gets its own
    proxy at the entrances that have one per cohort; fittings: see `lab/stack/fittings.py`;
    shielded: see `lab/engine/shield.py`.
    Raises LabError in one line when anything does not start, UsageError for an unknown mode or
    defect, ResidueError when it cannot be removed.
    """
    mode = system.chosen_mode(mode)
    system = system.in_mode(mode)
    variables = _variables(system, run, mode, system.chosen_defects(defects))
    kept = False
    try:
        with engine() as client, engine(HANDS_SECONDS) as quick:
            shield = shield_of(client, run, say) if shielded else None
            start = Start(
                client, system, run, folder, plan(system, cohorts), variables, say, keep,
                frozenset(fittings), shield.parent if shield else "",
            )  # fmt: skip
            endpoints = await start.everything()
            if shield is not None:
                await to_thread.run_sync(_raised, shield, start)
            try:
                lab = hands(quick, start.links, start.ids, run, start.layout)
                yield Stack(
                    site=Site(endpoints.entrances, endpoints.observers, variables, mode),
                    lab=lab,
                    links=start.links,
                    timings=start.timings,
                    start=start,
                    shield=shield,
                )
                kept = keep
            finally:
                start.links.close()
    finally:
        if not kept:
            await cleared(run)


def _raised(shield: Shield, start: Start) -> None:
    """Services, and the engine's forwarders to their ports, before strangers on the host."""
    shield.up()
    shield.take(forwarders(start.ports.values()))
    start.say("behind a shield: strangers on this host come last")


async def cleared(run: str, seconds: float = CLEAR_SECONDS) -> tuple[str, ...]:
    """Remove everything of the run, whatever cancels; returns what was there.

    Raises ResidueError naming what is left after `seconds`.
    """
    removed: dict[str, None] = {}
    left: tuple[str, ...] = ()
    with CancelScope(shield=True):
        until = monotonic() + seconds
        while there := await to_thread.run_sync(sweep, run):
            removed.update(dict.fromkeys(there))
            if monotonic() > until:
                break
        left = await to_thread.run_sync(residue, run)
    if left:
        raise ResidueError(f"still there after {seconds:g} s: {', '.join(left)}", where=run)
    return tuple(removed)


def _variables(system: SystemFile, run: str, mode: str, defects: str) -> dict[str, str]:
    """The file's variables and the lab's own; the secrets are made anew for every run."""
    names = (*system.variables, "LAB_TOKEN", "LAB_TENANT_KEY")
    made = {name: secrets.token_hex(32) for name in names}
    return made | {"LAB_RUN": run, "LAB_MODE": mode, "LAB_DEFECTS": defects}
