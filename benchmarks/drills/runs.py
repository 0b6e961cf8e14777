"""Points on a whole run: the lab dies under an experiment, and all of its stack goes with it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from benchmarks.drills.ground import command
from benchmarks.drills.points import Seen
from lab.engine.belongings import residue

EXPERIMENT = "partition"
GONE_SECONDS = 15.0


def run_killed(system: Path, draw: Random) -> Seen:
    """SIGKILL of `lab run` at a random moment: nothing of its run is left in the engine."""
    with TemporaryDirectory(prefix="crosstalk-drill-") as place:
        folder = Path(place)
        words = ("run", EXPERIMENT, "--profile", "quick", "--system", str(system.resolve()))
        with command(folder, *words) as process:
            until = monotonic() + draw.uniform(0.7, 9.0)
            while monotonic() < until and process.poll() is None:
                sleep(0.01)
            process.kill()
            died = monotonic()
        run = next((path.name for path in folder.glob("runs/*")), "")
        if not run:
            return Seen("run killed", "before it began")
        at = f"{EXPERIMENT}, {', '.join(residue(run)) or 'nothing up'}"
        while left := residue(run):
            if monotonic() - died > GONE_SECONDS:
                return Seen("run killed", at, None, f"left: {', '.join(left)}")
            sleep(0.02)
        took = monotonic() - died
        sleep(1.0)  # whatever the engine had still been asked for
        again = residue(run)
        return Seen("run killed", at, took, f"came back: {', '.join(again)}" if again else "")
