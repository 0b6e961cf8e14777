"""How fast the canary scan is: `python -m benchmarks.canary` prints MB/s on three kinds of text."""

from __future__ import annotations

import sys
from random import Random
from time import perf_counter

from lab.canary import mint, run_key, scan

KEY = run_key(1, "benchmark")
LETTERS = ' "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789{}:,/+='
MEGABYTE = 1_000_000


def clean(megabytes: int) -> str:
    """Random JSON-like text without a canary."""
    return "".join(Random(1).choices(LETTERS, k=MEGABYTE)) * megabytes


def replies(megabytes: int, every: int) -> str:
    """The same text with a canary every `every` characters, all different."""
    text = clean(megabytes)
    pieces = range(0, len(text), every)
    return "".join(text[at : at + every] + mint(KEY, "t3-quiet-0", "note-1", at) for at in pieces)


def megabytes_per_second(text: str) -> float:
    """The best of three scans."""
    best = float("inf")
    for _ in range(3):
        begun = perf_counter()
        scan(KEY, text)
        best = min(best, perf_counter() - begun)
    return len(text) / MEGABYTE / best


def main() -> None:
    """Print one line for each kind of text."""
    kinds = {
        "clean": clean(20),
        "a canary every 10 kB": replies(20, 10_000),
        "a canary every 300 B": replies(2, 300),
    }
    for kind, text in kinds.items():
        sys.stdout.write(f"{kind:>22}: {megabytes_per_second(text):7.0f} MB/s\n")


if __name__ == "__main__":
    main()
