"""Live shams: attacks in which nobody attacks, judged one after another on one standing stack.

python -m benchmarks.shams [--count 40] [--seed 1] [--system FOLDER] [--no-shield]

Each sham has a seed of its own, fresh tenants, the load and the design of `noisy_neighbor` in quick
profile, and coins that switch nothing. A sound judge says HELD or UNKNOWN; every VIOLATED is a
false alarm. A sham takes 25 to 45 s, so 40 take about 20 minutes; the table is printed as it grows.
Exits 1 if anybody was accused.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic_ns

import anyio

from experiments._tenants import notes
from lab import campaign
from lab.actions import Read, Write
from lab.experiment import Experiment, Phase, Profile
from lab.history import Op, history
from lab.host import HostWatch
from lab.journal import Journal, Opened, read
from lab.run import Ground, perform
from lab.stack.standing import Stack
from lab.stats.design import PairedBlocks
from lab.verdict import Status, Verdict
from lab.verifiers.latency import neighbours_keep_their_p95
from lab.workload import Cohort, Workload

DESIGN = PairedBlocks(looks=(16, 32))
QUIET = Cohort("quiet", 9)
PER_SECOND = 135.0
UNFIT = ("host too noisy", "generator late", "void")
HEAD = ("sham", "seed", "status", "pairs", "void", "ratio", "lower", "upper", "could tell")


@dataclass(frozen=True, slots=True)
class Sham:
    """One sham's verdict."""

    seed: int
    verdict: Verdict

    def row(self, number: int) -> str:
        """A line of the table."""
        seen, verdict = self.verdict.measured, self.verdict
        figures = [
            f"{seen[name]:.3f}" if name in seen else "-"
            for name in ("p95_ratio", "ratio_lower", "ratio_upper", "detectable_ratio")
        ]
        pairs = (str(verdict.exposures.get(name, 0)) for name in ("pairs", "pairs_void"))
        cells = (str(number), str(self.seed), verdict.status, *pairs, *figures)
        return "".join(f"{cell:>11}" for cell in cells)


class Quiet:
    """A view that shows nothing but what has to be known."""

    def say(self, line: str) -> None:
        """See View."""
        if "shield" in line or "swept" in line:
            print(line, flush=True)

    def phase(self, name: str, seconds: float) -> None:
        """See View."""

    def ops(self, batch: Sequence[Op]) -> None:
        """See View."""


def story() -> Experiment:
    """As `noisy_neighbor`, without the noisy one."""
    chat = Workload(QUIET.name, notes, PER_SECOND / QUIET.size, frozenset({Write, Read}))
    attack = Phase("attack", DESIGN.seconds, paired=DESIGN)
    return Experiment(
        claim="Nobody attacks.",
        cohorts=(QUIET,),
        workloads=(chat,),
        phases=(Phase("warm-up", 2), attack),
        verifiers=(neighbours_keep_their_p95(DESIGN, of=QUIET.name),),
    )


async def sham(what: campaign.Plan, stack: Stack, seed: int, folder: Path) -> Sham:
    """One sham on the standing stack."""
    opened = Opened(
        run=what.run,
        experiment=f"sham {seed}",
        seed=seed,
        epoch_ns=monotonic_ns(),
        wall=datetime.now(UTC).isoformat(timespec="milliseconds"),
        profile=Profile.QUICK,
        mode=what.mode,
        system=what.system.name,
        tenants=0,
        shield=stack.shield is not None,
    )
    ground = Ground(
        stack.site,
        stack.lab,
        what.system.driver,
        stack.driver(what.driver),
        shelter=stack.shelter,
        companions=(HostWatch(what.run),),
    )
    ops: list[Op] = []
    with Journal(folder) as journal:
        journal.append(opened, durable=True)
        await perform(story(), opened, ground, journal, Quiet(), ops)
    (verifier,) = story().verifiers
    return Sham(seed, verifier(history(ops, read(folder))))


async def shams(request: campaign.Request, count: int) -> list[Sham]:
    """All of them, each printed as it is known."""
    what = campaign.plan(request)
    what = replace(what, stories=tuple((entry, story()) for entry, _ in what.stories))
    folder, view = campaign.RUNS / what.run, Quiet()
    await campaign.prepare([what.system], view.say)
    folder.mkdir(parents=True)
    found: list[Sham] = []
    async with campaign.stood_up(what, folder, view) as stack:
        print("".join(f"{cell:>11}" for cell in HEAD), flush=True)
        for number in range(count):
            seed = request.seed + number
            found.append(await sham(what, stack, seed, folder / f"sham-{number}"))
            print(found[-1].row(number + 1), flush=True)
    return found


def main() -> None:
    """Print the table and what it comes to."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=40)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--system", type=Path, default=Path("compose/reference"))
    words.add_argument("--no-shield", action="store_true")
    asked = words.parse_args()
    request = campaign.Request(
        names=("noisy_neighbor",),
        profile=Profile.QUICK,
        seed=asked.seed,
        system=asked.system,
        shield=not asked.no_shield,
    )
    found = anyio.run(shams, request, asked.count)
    answers = Counter(each.verdict.status for each in found)
    unknown = [each.verdict for each in found if each.verdict.status is Status.UNKNOWN]
    reasons = Counter(
        next((why for why in UNFIT if why in verdict.reason), "not decided in 32 pairs")
        for verdict in unknown
    )
    told = ", ".join(f"{answers[status]} {status}" for status in Status)
    accused = answers[Status.VIOLATED]
    bound = 1 - 0.05 ** (1 / len(found))
    print(f"{len(found)} shams: {told}; false alarms {accused / len(found):.1%}", end="")
    print(f" (none seen: below {bound:.1%} with 95 % confidence)" if not accused else "")
    for reason, times in reasons.most_common():
        print(f"  UNKNOWN x {times}: {reason}")
    sys.exit(1 if accused else 0)


if __name__ == "__main__":
    main()
