"""Commands for stacks and the engine: `doctor`, `images`, `up`, `down`, `ps`, `logs`, `heal`..."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.loop import Leave, finished, say
from lab.cli.options import DefectOption, ModeOption, SystemOption, app, system_folder
from lab.errors import ExitCode


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option(help="Install what is missing")] = False,
) -> None:
    """Check engine, cgroups, disk and images, and say how to mend what is wrong."""
    from lab.engine import machine as engine

    if fix:
        engine.ensure(say)
    checks = engine.diagnose()
    for check in checks:
        mend = "" if check.ok or not check.mend else f"  -> {check.mend}"
        print(f"{'ok  ' if check.ok else 'BAD '} {check.name}: {check.detail}{mend}")
    raise Leave(ExitCode.HELD if all(c.ok for c in checks) else ExitCode.LAB_FAILED)


@app.command()
def images(system: SystemOption = "") -> None:
    """Make sure of the images of the system; of every image there is when none is named."""
    from lab import campaign
    from lab.catalog import systems
    from lab.images.ensure import own
    from lab.stack import file as stackfile

    named = [stackfile.load(f) for f in ([system_folder(system)] if system else systems())]
    finished(lambda: campaign.prepare(named, say, () if system else own()))


@app.command()
def up(
    system: SystemOption = "",
    mode: ModeOption = "",
    defect: DefectOption = None,
    fit: Annotated[
        list[str] | None,
        typer.Option(help="Fit it with disks or clocks, for faults on them (repeatable)"),
    ] = None,
) -> None:
    """Stand the system up and leave it up, for looking around; `lab down` takes it away."""
    from lab.healing import upkeep
    from lab.stack.fittings import fittings_of

    folder, fittings = system_folder(system), fittings_of(fit or ())
    stack = finished(lambda: upkeep.keep_up(folder, mode, tuple(defect or ()), fittings, say))
    for name, address in stack:
        print(f"{name:24} {address}")


@app.command()
def down(
    run: Annotated[str, typer.Argument(help="A run's id; your only stack when absent")] = "",
    everyone: Annotated[
        bool, typer.Option("--all", help="Every kept stack of this machine, whoever keeps it")
    ] = False,
) -> None:
    """Take down what `lab up` left up."""
    from lab.healing import upkeep

    for name in finished(lambda: upkeep.take_down(run, everyone=everyone)):
        print(f"removed {name}")


@app.command()
def ps() -> None:
    """Show every container of the lab: run, service, state, age."""
    from lab.healing import upkeep

    for box in upkeep.containers():
        print(f"{box.run}  {box.service:12}  {box.status}{'  kept' if box.kept else ''}")


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="A service's name; all when absent")] = "",
    run: Annotated[str, typer.Option(help="A run's id; the newest one up when absent")] = "",
) -> None:
    """Print the logs of a stack that is up."""
    from lab.healing import upkeep

    for name, text in upkeep.logs(run, service):
        print(f"--- {name}\n{text}")


@app.command()
def heal(
    run: Annotated[str, typer.Argument(help="A run's id; every dead run when absent")] = "",
) -> None:
    """Undo what a killed lab left; runs that are alive are not touched.

    A stack that is kept up loses its faults and stays; everything else of the run is removed.
    """
    from lab.healing import upkeep

    for name in upkeep.heal(run):
        print(f"healed {name}")


@app.command()
def sweep() -> None:
    """Undo what every dead lab left: its stacks, and its faults on stacks that are kept up."""
    from lab.healing import upkeep

    for name in upkeep.heal(""):
        print(f"swept {name}")
    for run in upkeep.unseen():
        say(f"left alone: {run}, whose folder is out of sight; `lab heal {run}` removes it")
