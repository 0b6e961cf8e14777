"""Live shams: attacks in which nobody attacks, judged one after another on one standing stack.

python -m benchmarks.shams [--count 40] [--seed 1] [--system FOLDER] [--no-shield]

Each sham is `noisy_neighbor` in quick profile up to the end of its paired phase, without the noisy
one: a seed of its own, fresh tenants, the same load and design, and coins that switch nothing. A
sound judge says HELD or UNKNOWN; every VIOLATED is a false alarm. A sham takes 31 s when the first
look decides and 26 s more for each further one, so 40 take 20 to 55 minutes; the table is printed
as it grows. Exits 1 if anybody was accused.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import anyio

from benchmarks.standing import Silent, played, say
from lab import campaign
from lab.experiment import Experiment, Profile
from lab.host import HostWatch
from lab.stack.standing import Stack
from lab.verdict import Status, Verdict
from lab.verifiers import judge_all
from lab.verifiers.latency import neighbours_keep_their_p95

SYSTEM = Path("compose/reference")
WARM_UP = "warm-up"
UNFIT = ("host too noisy", "generator late", "void")
HEAD = ("sham", "seed", "status", "pairs", "void", "ratio", "lower", "upper", "could tell", "s")


@dataclass(frozen=True, slots=True)
class Sham:
    """One sham's verdict, and the seconds it took, tenants and censuses included."""

    seed: int
    verdict: Verdict
    seconds: float

    def row(self, number: int) -> str:
        """A line of the table."""
        seen, verdict = self.verdict.measured, self.verdict
        figures = [
            f"{seen[name]:.3f}" if name in seen else "-"
            for name in ("p95_ratio", "ratio_lower", "ratio_upper", "detectable_ratio")
        ]
        pairs = (str(verdict.exposures.get(name, 0)) for name in ("pairs", "pairs_void"))
        cells = (str(number), str(self.seed), verdict.status, *pairs, *figures)
        return "".join(f"{cell:>11}" for cell in (*cells, f"{self.seconds:.1f}"))

    def why(self, pairs: int) -> str:
        """What kept it from a verdict; `pairs`: the most there may be."""
        undecided = f"not decided in {pairs} pairs"
        return next((why for why in UNFIT if why in self.verdict.reason), undecided)


class Quiet(Silent):
    """A view that tells nothing but what has to be known."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def say(self, line: str) -> None:
        """See View."""
        if "shield" in line or "swept" in line:
            self._tell(line)


def unattacked(story: Experiment) -> Experiment:
    """The story up to its paired phase, without whoever joins that, judged by its design alone."""
    at, design = next((n, p.paired) for n, p in enumerate(story.phases) if p.paired)
    noisy = {work.cohort for phase in story.phases for work in phase.joined_by}
    (quiet,) = (cohort for cohort in story.cohorts if cohort.name not in noisy)
    calm = tuple(p for p in story.phases[:at] if p.name == WARM_UP)
    attack = replace(story.phases[at], joined_by=())
    return replace(
        story,
        claim="Nobody attacks.",
        cohorts=(quiet,),
        phases=(*calm, attack),
        verifiers=(neighbours_keep_their_p95(design, phase=attack.name, of=quiet.name),),
    )


async def sham(
    what: campaign.Plan, story: Experiment, stack: Stack, seed: int, folder: Path
) -> Sham:
    """One sham on the standing stack."""
    began = monotonic()
    beside = (HostWatch(what.run), *campaign.companions(what, story, stack))
    name = f"sham {seed}"
    seen = await played(story, stack, what.driver, folder, name=name, seed=seed, companions=beside)
    (verdict,) = judge_all(story.verifiers, seen)
    return Sham(seed, verdict, monotonic() - began)


async def shams(what: campaign.Plan, count: int, tell: Callable[[str], None] = say) -> list[Sham]:
    """All of them, on one stack, each told as it is known."""
    ((_, story),) = what.stories
    folder, view = campaign.RUNS / what.run, Quiet(tell)
    await campaign.prepare([what.system], view.say)
    folder.mkdir(parents=True)
    found: list[Sham] = []
    async with campaign.stood_up(what, folder, view) as stack:
        tell("".join(f"{cell:>11}" for cell in HEAD))
        for number in range(count):
            seed = what.request.seed + number
            found.append(await sham(what, story, stack, seed, folder / f"sham-{number}"))
            tell(found[-1].row(number + 1))
    return found


def planned(seed: int, system: Path = SYSTEM, *, shield: bool = True) -> campaign.Plan:
    """What a run of `noisy_neighbor` would be, without its attackers. Raises UsageError."""
    request = campaign.Request(
        names=("noisy_neighbor",), profile=Profile.QUICK, seed=seed, system=system, shield=shield
    )
    what = campaign.plan(request)
    return replace(what, stories=tuple((entry, unattacked(told)) for entry, told in what.stories))


def main() -> None:
    """Print the table and what it comes to."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=40)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--system", type=Path, default=SYSTEM)
    words.add_argument("--no-shield", action="store_true")
    asked = words.parse_args()
    what = planned(asked.seed, asked.system, shield=not asked.no_shield)
    ((_, story),) = what.stories
    (design,) = (phase.paired for phase in story.phases if phase.paired)
    found = anyio.run(shams, what, asked.count)
    answers = Counter(each.verdict.status for each in found)
    unknown = (each for each in found if each.verdict.status is Status.UNKNOWN)
    reasons = Counter(each.why(design.looks[-1]) for each in unknown)
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
