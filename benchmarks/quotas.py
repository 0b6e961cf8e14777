"""How soon each kind of quota bites: every one driven over its limit, on one stack.

    python -m benchmarks.quotas [--profile quick|standard]      about 35 s, or 45 s

A run of `quota_enforcement`, whose verdict is printed as well. The time is from the first operation
that is known to be over the limit to the moment its tenant knew that it was refused; for sockets
it is at most that: from when a crowd began to knock until all of it was let in or not.
"""

from __future__ import annotations

import argparse
import secrets
import sys

import anyio

from benchmarks.standing import SILENT
from lab.campaign import Request, conduct, plan
from lab.catalog import system_folder
from lab.experiment import Profile

say = sys.stdout.write


async def measured(profile: Profile) -> None:
    """Run, and print the table."""
    request = Request(
        names=("quota_enforcement",),
        profile=profile,
        seed=secrets.randbits(31),
        system=system_folder("compose/reference"),
    )
    (judged,) = await conduct(plan(request), SILENT)
    verdict = next(each for each in judged.verdicts if each.verifier == "quota")
    for name, ms in sorted(verdict.measured.items(), key=lambda item: item[1]):
        say(f"{name.removesuffix('_enforced_ms'):12} enforced after {ms:8.1f} ms\n")
    say(f"{verdict.status}: {verdict.reason}\n{verdict.exposures}\n{judged.folder}\n")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quotas")
    parser.add_argument("--profile", default="quick", choices=[str(each) for each in Profile])
    anyio.run(measured, Profile(str(parser.parse_args().profile)))


if __name__ == "__main__":
    main()
