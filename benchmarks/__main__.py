"""`make bench`: measures the lab beside its peers, each ratio within one run, never asserted.

python -m benchmarks
"""

from __future__ import annotations

import sys

import anyio

from benchmarks import canary, load, platform, precision, quotas, stack_start
from lab.catalog import systems
from lab.experiment import Profile

REPETITIONS = 3


def main() -> None:
    """Every benchmark in turn, under a heading that says what is compared."""
    for folder in systems():
        _heading(f"from nothing to every link ready: {folder}")
        stack_start.main(folder, REPETITIONS)
    _heading("load engine beside a bare client")
    load.main()
    _heading("how exactly faults do what they are asked")
    precision.main()
    _heading("scanning for canaries")
    canary.main()
    _heading("the reference platform beside a bare echo")
    platform.main()
    _heading("how soon each kind of quota bites")
    anyio.run(quotas.measured, Profile.QUICK)


def _heading(text: str) -> None:
    sys.stdout.write(f"\n== {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
