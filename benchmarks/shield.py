"""What the shield is worth: attacks and shams while strangers burn the host's cores.

python -m benchmarks.shield [--times 10] [--bare 3]         about 60 s a run

Two kinds of run, each on a stack of its own: a sham (`noisy_neighbor` in which nobody attacks, see
benchmarks/shams.py), which should be HELD, and a whole `noisy_neighbor` with the defect
`shared_pool` planted, which should be VIOLATED. Runs behind the shield (`--times` of each kind) and
without it (`--bare`) take turns, so that the machine's mood is shared. The strangers are processes
of this benchmark's own that do nothing but compute. Seconds are those of the whole run, its stack
included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import product
from statistics import median

import anyio

from benchmarks.shams import planned, shams
from benchmarks.standing import say
from benchmarks.strangers import strangers

STRANGERS = 2
SHAM, DEFECT = "sham", "shared_pool"
CLAIMS = {SHAM: "HELD", DEFECT: "VIOLATED"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run's end: the latency verdict and why, and seconds from start to end."""

    latency: str
    reason: str
    seconds: float


def sham(seed: int, *, shield: bool) -> Run:
    """A sham on a stack of its own."""
    began, told = time.monotonic(), list[str]()
    (found,) = anyio.run(shams, planned(seed, shield=shield), 1, told.append)
    if shield and not any("behind a shield" in line for line in told):
        return Run("no shield", told[0], time.monotonic() - began)
    return Run(found.verdict.status, found.verdict.reason, time.monotonic() - began)


def planted(seed: int, *, shield: bool) -> Run:
    """A whole run with the defect, from the command line."""
    words = ["run", "noisy_neighbor", "--profile", "quick", "--seed", str(seed), "--json"]
    words += ["--defect", DEFECT, "--shield" if shield else "--no-shield"]
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        subprocess.run([sys.executable, "-m", "lab", *words], stdout=out, stderr=told, check=False)
        seconds = time.monotonic() - began
        out.seek(0)
        result = json.loads(out.read() or b"{}")
        told.seek(0)
        last = told.read().decode(errors="replace").strip().rpartition("\n")[2]
    latency = next((v for v in result.get("verdicts", ()) if v["verifier"] == "latency"), None)
    if latency is None or (shield and not result["shield"]):
        return Run("no verdict" if latency is None else "no shield", last, seconds)
    return Run(latency["status"], latency["reason"], seconds)


def main(times: int, bare: int) -> None:
    """Take turns, print every run, then the table."""
    seen: dict[tuple[str, bool], list[Run]] = {}
    with strangers(STRANGERS):
        for seed, kind, shield in product(range(1, times + 1), CLAIMS, (True, False)):
            if shield or seed <= bare:
                one = (sham if kind == SHAM else planted)(seed, shield=shield)
                seen.setdefault((kind, shield), []).append(one)
                named = f"{_named(kind, shield)} seed {seed:<4}"
                say(f"{named}{one.seconds:6.1f} s  {one.latency:10}{one.reason}")
    say(f"\n{STRANGERS} strangers burn; seconds of the whole run")
    say(f"{'':22}{'runs':>6}{'right':>7}{'unknown':>9}{'wrong':>7}{'median s':>10}{'max s':>8}")
    for (kind, shield), runs in seen.items():
        counts, seconds = Counter(one.latency for one in runs), [one.seconds for one in runs]
        right, unknown = counts[CLAIMS[kind]], counts["UNKNOWN"]
        wrong = len(runs) - right - unknown
        row = f"{_named(kind, shield)}{len(runs):>6}{right:>7}{unknown:>9}{wrong:>7}"
        say(f"{row}{median(seconds):>10.1f}{max(seconds):>8.1f}")


def _named(kind: str, shield: bool) -> str:
    return f"{kind:12}{'shielded' if shield else 'bare':10}"


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--times", type=int, default=10)
    words.add_argument("--bare", type=int, default=3)
    asked = words.parse_args()
    main(asked.times, asked.bare)
