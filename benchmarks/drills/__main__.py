"""`python -m benchmarks.drills [--points 200] [--seed 1] [--system FOLDER]`.

The system of the drills' own, `everything`, is there by default: most faults can bite it. A fault
that cannot bite the system is told, and why.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Lock
from time import monotonic
from typing import cast

from benchmarks.drills import points
from benchmarks.drills.decoys import decoys, state
from benchmarks.drills.ground import Ground, ground
from benchmarks.drills.points import Seen
from benchmarks.drills.runs import run_killed
from lab.errors import LabError
from lab.fault import Fault
from lab.seeds import stream
from lab.stack.file import load
from lab.stack.fittings import Fitting
from tests.faults import examples
from tests.faults.examples import Make

SHARES = {
    "killed": 0.66,
    "interrupted": 0.12,
    "frozen": 0.06,
    "target killed": 0.04,
    "beside": 0.04,
    "run killed": 0.06,
    "wedged": 0.02,
}
"""What the points are made of; each gets one at least."""

BY_NAME = {
    "killed": points.killed,
    "interrupted": points.interrupted,
    "frozen": points.frozen,
    "target killed": points.bereft,
    "wedged": points.wedged,
}


BUSY_LOAD = 3.0
"""The drills' own two workers make about 1.5 a core on two cores."""

EVERYTHING = Path(__file__).with_name("everything")

THIRD = Lock()
"""The stack beside is one, and the workers are two."""


@dataclass(frozen=True)
class Plan:
    """One point to be: its number among those of its name decides what it draws."""

    name: str
    number: int


def planned(count: int) -> tuple[Plan, ...]:
    """All points, the costly ones first, so that two workers end together."""
    rest = count - sum(max(1, round(count * share)) for share in list(SHARES.values())[1:])
    counts = {name: max(1, round(count * share)) for name, share in SHARES.items()}
    counts["killed"] = max(1, rest)
    return tuple(Plan(name, n) for name in reversed(counts) for n in range(counts[name]))


def pool() -> tuple[Fault, ...]:
    """Every example of every fault there is."""
    groups = cast("list[object]", [vars(examples)[name] for name in sorted(vars(examples))])
    makes = [cast("tuple[Make, ...]", group) for group in groups if isinstance(group, tuple)]
    return tuple(dict.fromkeys(make() for group in makes for make in group))


def fitting(grounds: Sequence[Ground], faults: Sequence[Fault]) -> Iterator[tuple[Fault, str]]:
    """Each fault, and why it does not apply to these stacks: found out by an orderly injection."""

    def work(mine: int) -> list[tuple[Fault, str]]:
        return [(fault, _refusal(grounds[mine], fault)) for fault in faults[mine::2]]

    with ThreadPoolExecutor(max_workers=2) as workers:
        for rows in workers.map(work, (0, 1)):
            yield from rows


def _refusal(on: Ground, fault: Fault) -> str:
    on.free()
    with on.inject(fault, "50ms") as process:
        _, errors = process.communicate(timeout=60)
    left = on.calm_again(points.CALM_SECONDS)
    return f"LEFT {', '.join(left)}" if left else why(process.returncode, errors)


def why(code: int, errors: str) -> str:
    """The last line of a command that did not end well; of a traceback, what was raised."""
    lines = [line for each in errors.splitlines() if (line := each.strip(" |+-"))]
    return "" if code == 0 else (lines or [f"it ended with {code}"])[-1]


def perform(plan: Plan, grounds: Sequence[Ground], mine: int, seed: int, system: Path,
            faults: Sequence[Fault]) -> Seen:  # fmt: skip
    """One point, on the worker's own stack."""
    draw = stream(seed, "drill", plan.name, str(plan.number))
    of_links = [fault for fault in faults if fault.target.startswith("link ")]
    if plan.name == "run killed":
        return run_killed(system, draw)
    if plan.name == "beside":
        with THIRD:
            return points.beside(grounds[mine], grounds[2], draw.choice(of_links), draw)
    if plan.name == "wedged":
        return points.wedged(grounds[mine], draw.choice(of_links), draw)
    fault = faults[plan.number % len(faults)] if plan.name == "killed" else draw.choice(faults)
    return BY_NAME[plan.name](grounds[mine], fault, draw)


def tried(
    grounds: Sequence[Ground], faults: Sequence[Fault], count: int, seed: int, system: Path
) -> tuple[Seen, ...]:
    """All points, by two workers with a stack each; one line a point as it is done."""
    plans = planned(count)

    def work(mine: int) -> list[Seen]:
        seen: list[Seen] = []
        for plan in plans[mine::2]:
            try:
                seen.append(perform(plan, grounds, mine, seed, system, faults))
            except LabError as error:
                seen.append(Seen(plan.name, f"number {plan.number}", None, str(error)))
            told = f"BAD {seen[-1].why}" if seen[-1].why else "ok "
            tell(f"{told} {seen[-1].what}: {seen[-1].fault}")
        return seen

    with ThreadPoolExecutor(max_workers=2) as workers:
        return tuple(seen for mine in workers.map(work, (0, 1)) for seen in mine)


def table(seen: Sequence[Seen]) -> Iterator[str]:
    """A line for each name: how many, how many left something, and how long it took."""
    yield f"{'':14}{'points':>8}{'bad':>6}{'late':>6}{'healed s':>12}{'max':>8}{'calm max':>10}"
    for name in SHARES:
        ours = [each for each in seen if each.what == name]
        times = [each.heal_seconds for each in ours if each.heal_seconds is not None] or [0.0]
        calm = [each.calm_seconds or 0.0 for each in ours] or [0.0]
        bad, late = sum(bool(each.why) for each in ours), sum(each.late for each in ours)
        took = f"{median(times):12.3f}{max(times):8.3f}{max(calm):10.2f}"
        yield f"{name:14}{len(ours):8}{bad:6}{late:6}{took}"


def tell(line: str) -> None:
    """One line of progress."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Stand up, perform, compare, and say what is left; 1 when a single point failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--system", type=Path, default=EVERYTHING)
    parser.add_argument("--decoys", type=int, default=200)
    given = parser.parse_args()
    began = monotonic()
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory())) for _ in range(3)]
        system = load(given.system)
        there = {Fitting.DISKS: system.disks, Fitting.CLOCKS: system.clocks}
        fits = [need for need, services in there.items() if services]
        grounds = [stack.enter_context(ground(folder, given.system, fits)) for folder in folders]
        token = stack.enter_context(decoys(grounds[0].run, given.decoys))
        untouched = state(token)
        applies: list[Fault] = []
        bad: list[str] = []
        for fault, refusal in fitting(grounds, pool()):
            applies += [] if refusal else [fault]
            bad += [f"{fault!r}: {refusal}"] if refusal.startswith("LEFT") else []
            tell(f"{'n/a' if refusal else 'ok '} {fault!r} {refusal}".rstrip())
        stream(given.seed, "drill", "order").shuffle(applies)
        seen = tried(grounds, applies, given.points, given.seed, given.system)
        if state(token) != untouched:
            bad.append("a decoy was touched")
    bad += [f"{each.what}, {each.fault}: {each.why}" for each in seen if each.why]
    per_core = os.getloadavg()[1] / (os.cpu_count() or 1)
    if per_core < BUSY_LOAD:  # on a busy host, time shows the host
        bad += [
            f"{each.what}, {each.fault}: late, {each.heal_seconds}" for each in seen if each.late
        ]
    for line in (*table(seen), *bad):
        tell(line)
    kinds = len({fault.kind for fault in applies})
    tell(
        f"{len(seen)} points on {kinds} kinds of faults, {len(untouched)} decoys:"
        f" {len(bad)} bad, in {monotonic() - began:.0f} s at a load of {per_core:.1f} a core"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
