"""What the shield is worth: whole runs of `noisy_neighbor` while strangers burn the host's cores.

python -m benchmarks.shield [TIMES]        10 by default; four runs each, about 65 s a run

Sound and planted runs, behind the shield and without it, take turns, so that the machine's mood is
shared. The strangers are processes of this benchmark's own that do nothing but compute. A run
counts as decided when the latency verdict is not UNKNOWN; its seconds are those of the whole
command, stack included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from statistics import median

STRANGERS = 2
DEFECT = "shared_pool"
CLAIMS = {"sound": "HELD", DEFECT: "VIOLATED"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run's end: the latency verdict, the whole run's exit code, seconds from start to end."""

    latency: str
    reason: str
    exit_code: int
    seconds: float


@contextmanager
def strangers(count: int) -> Generator[None]:
    """So many processes that only compute, ended with the block."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()


def run(kind: str, seed: int, *, shield: bool) -> Run:
    """One whole run from the command line."""
    words = ["run", "noisy_neighbor", "--profile", "quick", "--seed", str(seed), "--json"]
    words += ["--defect", kind] if kind != "sound" else []
    words += ["--shield" if shield else "--no-shield"]
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        ended = subprocess.run([sys.executable, "-m", "lab", *words], stdout=out, stderr=told)
        seconds = time.monotonic() - began
        out.seek(0)
        result = json.loads(out.read() or b"{}")
        told.seek(0)
        last = told.read().decode(errors="replace").strip().rpartition("\n")[2]
    latency = next((v for v in result.get("verdicts", ()) if v["verifier"] == "latency"), None)
    if latency is None or (shield and not result["shield"]):
        what = "no verdict" if latency is None else "no shield"
        return Run(what, last, ended.returncode, seconds)
    return Run(latency["status"], latency["reason"], ended.returncode, seconds)


def main(times: int) -> None:
    """Take turns, print every run, then the table."""
    seen: dict[tuple[str, bool], list[Run]] = {}
    with strangers(STRANGERS):
        for seed, kind, shield in product(range(1, times + 1), CLAIMS, (True, False)):
            one = run(kind, seed, shield=shield)
            seen.setdefault((kind, shield), []).append(one)
            print(f"{_named(kind, shield)} seed {seed:<4}{one.seconds:6.1f} s", end="  ")
            print(f"{one.latency:10}exit {one.exit_code}  {one.reason}", flush=True)
    print(f"\n{STRANGERS} strangers burn; {times} runs each; seconds of the whole command")
    print(f"{'':22}{'right':>7}{'unknown':>9}{'wrong':>7}{'median s':>10}{'max s':>8}")
    for (kind, shield), runs in seen.items():
        counts, seconds = Counter(one.latency for one in runs), [one.seconds for one in runs]
        right, unknown = counts[CLAIMS[kind]], counts["UNKNOWN"]
        print(f"{_named(kind, shield)}{right:>7}{unknown:>9}{times - right - unknown:>7}", end="")
        print(f"{median(seconds):>10.1f}{max(seconds):>8.1f}")


def _named(kind: str, shield: bool) -> str:
    return f"{kind:12}{'shielded' if shield else 'bare':10}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
