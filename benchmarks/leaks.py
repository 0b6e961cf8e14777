"""Every planted leak found and named, and no healthy run flagged, all on one standing stack.

    python -m benchmarks.leaks [--healthy N] [DEFECT...]

Each row is a run of its own: tenants of its own, a journal, the verifiers of `resource_leak` and
the live detector beside it. Without DEFECTs every planted defect that is meant for `leaks` gets a
run; then come N healthy ones (3 when absent). A healthy run takes 12 s, a planted one 14 s, and 20
to 28 s where memory leaks; everything with `--healthy 50` takes about 13 minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import anyio

from benchmarks.standing import leased, played, say
from experiments.resource_leak import story
from lab.campaign import prepare
from lab.experiment import Experiment
from lab.history import History
from lab.journal import Acted
from lab.monitor.beside import Watching
from lab.stack.file import SystemFile, load, load_driver
from lab.stack.standing import Stack
from lab.verdict import Status, Verdict
from lab.verifiers import judge_all

SYSTEM = Path("compose/reference")
HEALTHY = "healthy"
SWITCHES = ("admin", "login")
WARM_SECONDS, WORK_SECONDS, PER_SECOND = 1.0, 4.6, 10.0
REST_SECONDS, PLANTED_REST_SECONDS = 2.4, 2.8
LONGER = {
    "tool_keeps_results": 20.0,
    "memory_unbounded": 15.0,
    "agent_memory_leak": 12.0,
    "agent_runaway": 12.0,
}
"""The seconds of load in which these are found: so many requests, or so long a bound is passed."""

COHORTS = tuple(cohort.name for cohort in story(1, warm_seconds=1, work_seconds=1).cohorts)


@dataclass(frozen=True, slots=True)
class Row:
    """One run: what its leak verifiers say, and when the live detector or a bound spoke first.

    live_seconds: after the end of the warm-up; NaN when nothing was said.
    """

    name: str
    verdicts: tuple[Verdict, ...]
    live: str
    live_seconds: float
    seconds: float

    @property
    def flagged(self) -> bool:
        """Whether anything called it leaking."""
        return bool(self.live) or any(v.status is Status.VIOLATED for v in self.verdicts)


async def one(system: SystemFile, stack: Stack, name: str, number: int, folder: Path) -> Row:
    """Perform the story with the defect planted (none for a healthy run), and judge it."""
    began = time.monotonic()
    work_seconds = LONGER.get(name, WORK_SECONDS)
    rest_seconds = REST_SECONDS if name == HEALTHY else PLANTED_REST_SECONDS
    told = story(1, warm_seconds=WARM_SECONDS, work_seconds=work_seconds, rest_seconds=rest_seconds)
    planted = [] if name == HEALTHY else [name]
    seen = await performed(told, system, stack, planted, number, folder)
    verdicts = tuple(v for v in judge_all(told.verifiers, seen) if v.verifier == "leaks")
    work = seen.entered("work")
    live = next((a for a in seen.of(Acted) if _tells(a)), None)
    return Row(
        name,
        verdicts,
        live.reason if live else "",
        (live.at_ns - work.at_ns) / 1e9 if live and work else float("nan"),
        time.monotonic() - began,
    )


def _tells(event: Acted) -> bool:
    """Whether the live detector, or a bound, speaks."""
    return event.actor == "monitor" and (" leaks" in event.action or " exceeds " in event.action)


async def performed(
    told: Experiment,
    system: SystemFile,
    stack: Stack,
    planted: Sequence[str],
    number: int,
    folder: Path,
) -> History:
    """What happened while these defects were planted; `number` is the seed."""
    factory = load_driver(system.driver)
    warm_up = WARM_SECONDS + REST_SECONDS
    watching = Watching(stack, factory, per_second=PER_SECOND, rests=True, warm_up_seconds=warm_up)
    await plant(stack, planted)
    try:
        return await played(
            told, stack, factory, folder, name="resource_leak", seed=number, companions=(watching,)
        )
    finally:
        await plant(stack, [])


async def plant(stack: Stack, names: Sequence[str]) -> None:
    """Hold these defects on, and no other, in every service that has the switch."""
    headers = {"X-Lab-Token": stack.site.variables["LAB_TOKEN"]}
    async with aiohttp.ClientSession(headers=headers) as http:
        for entrance in SWITCHES:
            where = f"http://{stack.site.entrance(entrance)}/defects"
            async with http.put(where, json=list(names)) as response:
                response.raise_for_status()


def show(row: Row) -> None:
    """One line a run, and one more for what was found."""
    status = "/".join(v.status for v in row.verdicts)
    live = f"live after {row.live_seconds:.1f} s" if row.live else ""
    say(f"{row.name:22}{row.seconds:6.1f} s  {status:26}{live}")
    for verdict in row.verdicts:
        if verdict.status is not Status.HELD:
            say(f"    {next(iter(verdict.evidence), verdict.reason)}")
    if row.name == HEALTHY and row.live:
        say(f"    {row.live}")


async def everything(names: Sequence[str], healthy: int) -> bool:
    """All rows; whether every leak was found, and no healthy run called leaking."""
    system = load(SYSTEM)
    await prepare([system], say)
    meant = [name for name, defect in system.defects.items() if defect.verifier == "leaks"]
    runs = [*(names or meant), *[HEALTHY] * healthy]
    rows: list[Row] = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        async with leased(system, folder, cohorts=COHORTS, shielded=True, say=say) as stack:
            for number, name in enumerate(runs):
                rows.append(await one(system, stack, name, number, folder / str(number)))
                show(rows[-1])
    leaking = [row for row in rows if row.name != HEALTHY]
    sound = [row for row in rows if row.name == HEALTHY]
    held = sum(all(v.status is Status.HELD for v in row.verdicts) for row in sound)
    missed, false = [r.name for r in leaking if not r.flagged], [r for r in sound if r.flagged]
    say(
        f"{len(leaking)} planted leaks, {len(leaking) - len(missed)} found; missed: {missed or '-'}"
    )
    say(f"{len(sound)} healthy runs, {len(false)} flagged, {held} held on enough evidence")
    return not missed and not false


def main() -> None:
    """As the command line says; exit 1 when anything was missed or falsely flagged."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaks")
    parser.add_argument("--healthy", type=int, default=3, metavar="N")
    parser.add_argument("defects", nargs="*", metavar="DEFECT")
    asked = parser.parse_args()
    sys.exit(0 if anyio.run(everything, asked.defects, asked.healthy) else 1)


if __name__ == "__main__":
    main()
