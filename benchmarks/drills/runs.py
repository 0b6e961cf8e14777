"""Points on a whole run: the lab dies under an experiment, and all of its stack goes with it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from benchmarks.drills.ground import BUSY, at_work, command
from benchmarks.drills.points import Seen
from lab.engine.belongings import residue

EXPERIMENT = "partition"


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
        last = died
        while at_work(folder / "runs" / run) and monotonic() - died < BUSY:
            last = monotonic() if residue(run) else last
            sleep(0.02)
        sleep(1.0)  # whatever the engine had still been asked for
        left = residue(run)
        return Seen("run killed", at, last - died, f"left: {', '.join(left)}" if left else "")
