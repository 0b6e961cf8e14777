"""The judge, judged: false alarms, power, what the obvious rule says, and broken judges caught.

python -m benchmarks.judge [--runs 600]

On two recorded traces (tests/histories/traces, made by benchmarks.record) and four made-up hosts,
each run is a phase of at most 61 s under coins of its own, `--runs` runs a row with no effect and a
third as many with one, put in by scaling what is due while the aggressor is on. Beside it what
"30 s before, 30 s during, p95 up by over 10 %" says of the same phases, with nobody attacking.
600 runs take about 2 minutes. Nothing is started: no engine, no load.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from statistics import median

from lab.stats.design import PairedBlocks
from lab.verdict import Status
from tests.histories import bursty_noise, drifting_noise, heavy_noise, quiet_noise
from tests.histories.mutants import MUTANTS, before_after, error_rate, sound
from tests.histories.traces import Run, recorded, replay, simulated

DESIGN = PairedBlocks()
EFFECTS = (1.1, 1.2, 1.3, 1.5)
Phase = Callable[[int, float], Run]

HOSTS: dict[str, Phase] = {
    "recorded, quiet": lambda n, x: replay(
        recorded("quiet"), n, effect=x, design=DESIGN, gated=False
    ),
    "recorded, noisy": lambda n, x: replay(recorded("noisy"), n, effect=x, design=DESIGN),
    "same without gate": lambda n, x: replay(
        recorded("noisy"), n, effect=x, design=DESIGN, gated=False
    ),
    "made up, quiet": lambda n, x: simulated(quiet_noise, n, effect=x, design=DESIGN),
    "bursts and stalls": lambda n, x: simulated(bursty_noise, n, effect=x, design=DESIGN),
    "drift": lambda n, x: simulated(drifting_noise, n, effect=x, design=DESIGN),
    "heavy tails": lambda n, x: simulated(heavy_noise, n, effect=x, design=DESIGN),
}


def row(host: str, phase: Phase, effect: float, runs: int) -> int:
    """Print one line of the table; returns how many were called a violation."""
    answers: Counter[Status] = Counter()
    looks: list[int] = []
    naive = 0
    for seed in range(runs):
        run = phase(seed, effect)
        found = run.judged()
        answers[found.status] += 1
        looks += [found.look] if found.status is not Status.UNKNOWN else []
        naive += effect == 1.0 and before_after(run) is Status.VIOLATED
    shares = "".join(f"{answers[status] / runs:10.1%}" for status in Status)
    seconds = f"{median(looks) * DESIGN.pair_seconds:8.0f} s" if looks else f"{'-':>10}"
    beside = f"{naive / runs:15.1%}" if effect == 1.0 else ""
    print(f"{host:20}{effect - 1:>+7.0%}{runs:7}{shares}{seconds}{beside}", flush=True)
    return answers[Status.VIOLATED]


def main() -> None:
    """Print both tables."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--runs", type=int, default=600)
    runs = words.parse_args().runs
    print(f"margin {DESIGN.margin:.0%}, stated alpha {DESIGN.alpha:.1%}, looks at {DESIGN.looks}")
    heads = "".join(f"{status:>10}" for status in Status)
    print(f"{'host':20}{'effect':>7}{'runs':>7}{heads}{'decides in':>10}{'before/after':>15}")
    wrong = 0
    for host, phase in HOSTS.items():
        wrong += row(host, phase, 1.0, runs)
        for effect in EFFECTS:
            row(host, phase, effect, max(1, runs // 3))
    print(f"nobody attacked: {runs * len(HOSTS)} runs, {wrong} of them called VIOLATED")
    print(f"\n{'broken rule':26}{'sound judge':>14}{'broken judge':>14}")
    for name, mutant in MUTANTS.items():
        run = mutant.phase()
        print(f"{name:26}{sound(run):>14}{mutant.judge(run):>14}")
    wide = PairedBlocks(alpha=0.05)
    split = error_rate(wide, [wide.alpha_at(look) for look in wide.looks])
    unsplit = error_rate(wide, [wide.alpha] * len(wide.looks))
    print(
        f"{'errors at the margin, 5% stated':31}{split:>9.1%}{unsplit:>14.1%}  alpha at every look"
    )


if __name__ == "__main__":
    main()
