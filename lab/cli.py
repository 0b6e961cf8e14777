"""The command line: thin commands over the lab's own functions; exit codes as in `lab.errors`.

Heavy modules are imported inside the commands, so that `lab --help` answers at once.
"""

from __future__ import annotations

import json
import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals, signal
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import anyio
import typer

from lab.errors import ExitCode, LabError, UsageError, one_line, precedence

if TYPE_CHECKING:
    from lab.experiment import Profile

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Crosstalk: a chaos and fault-injection lab for multi-tenant backends.",
)
T = TypeVar("T")

Name = Annotated[str, typer.Argument(help="An experiment's NAME; `lab experiments` lists them.")]
ProfileOption = Annotated[str, typer.Option(help="quick, standard, full or stress")]
SeedOption = Annotated[
    int | None, typer.Option(help="Repeats a run's schedule; random when absent")
]
TenantsOption = Annotated[
    int, typer.Option(help="How many tenants; 0 is the experiment's own choice")
]
ModeOption = Annotated[
    str, typer.Option(help="The system's isolation mode; its first one when absent")
]
SystemOption = Annotated[str, typer.Option(help="Folder of the system under test")]
DefectOption = Annotated[
    list[str] | None, typer.Option("--defect", help="Plant a defect (repeatable)")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output")]
RunArgument = Annotated[Path, typer.Argument(help="A run's id or folder, as `lab runs` lists them")]


@app.command()
def run(
    name: Name,
    profile: ProfileOption = "standard",
    seed: SeedOption = None,
    tenants: TenantsOption = 0,
    mode: ModeOption = "",
    system: SystemOption = "",
    defect: DefectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one experiment and judge it."""
    _campaign((name,), profile, seed, tenants, mode, system, defect, as_json, junit=None)


@app.command()
def chaos(
    profile: ProfileOption = "quick",
    seed: SeedOption = None,
    mode: ModeOption = "",
    system: SystemOption = "",
    defect: DefectOption = None,
    as_json: JsonOption = False,
    junit: Annotated[Path, typer.Option(help="Where to write the JUnit report")] = Path(
        "runs/junit.xml"
    ),
) -> None:
    """Run every experiment that applies to the system on one stack: the CI stage."""
    from lab.campaign import fitting

    names = fitting(_system(system))
    _campaign(names, profile, seed, 0, mode, system, defect, as_json, junit=junit)


@app.command()
def judge(run: RunArgument, as_json: JsonOption = False) -> None:
    """Judge a run again from its journal and events; needs no engine."""
    from rich.console import Console

    from lab.judging import judge as judge_folder
    from lab.report import files, terminal

    judged = judge_folder(_run_folder(run))
    if as_json:
        sys.stdout.buffer.write(files.encode([files.result(judged)]))
    else:
        terminal.show(Console(), judged)
    raise typer.Exit(judged.exit_code)


@app.command()
def experiments(as_json: JsonOption = False) -> None:
    """List the experiments."""
    from lab import catalog

    _list([(e.name, e.summary) for e in catalog.experiments().values()], as_json)


@app.command()
def faults(as_json: JsonOption = False) -> None:
    """List the faults."""
    from lab import catalog
    from lab.report.tables import first_line

    _list([(kind, first_line(fault)) for kind, fault in catalog.faults().items()], as_json)


@app.command()
def defects(system: SystemOption = "", as_json: JsonOption = False) -> None:
    """List the defects that can be planted in the system."""
    from lab import stackfile

    known = stackfile.load(_system(system)).defects
    if as_json:
        print(json.dumps([{"name": d, **asdict(v)} for d, v in known.items()], indent=2))
        return
    _list([(d, f"{v.summary} -> {v.verifier} ({v.severity})") for d, v in known.items()], as_json)


@app.command()
def runs() -> None:
    """List the runs, newest first."""
    from lab.campaign import runs as all_runs

    for folder in all_runs():
        print(folder)


@app.command()
def docs(
    file: Annotated[Path, typer.Argument(help="The document to refill")] = Path("README.md"),
) -> None:
    """Fill a document's generated tables anew."""
    from lab.report.tables import refill

    print(f"{file}: {'refilled' if refill(file) else 'up to date'}")


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option(help="Install what is missing")] = False,
) -> None:
    """Check engine, cgroups, disk and images, and say how to mend what is wrong."""
    from lab import engine

    if fix:
        engine.ensure(_say)
    checks = engine.diagnose()
    for check in checks:
        mend = "" if check.ok or not check.mend else f"  -> {check.mend}"
        print(f"{'ok  ' if check.ok else 'BAD '} {check.name}: {check.detail}{mend}")
    raise typer.Exit(ExitCode.HELD if all(c.ok for c in checks) else ExitCode.LAB_FAILED)


@app.command()
def images(system: SystemOption = "") -> None:
    """Make sure of the images of the system (of every built-in one when none is named)."""
    from lab import campaign, stackfile
    from lab.catalog import systems

    folders = [_system(system)] if system else systems()
    _async(lambda: campaign.prepare([stackfile.load(folder) for folder in folders], _say))


@app.command()
def up(system: SystemOption = "", mode: ModeOption = "", defect: DefectOption = None) -> None:
    """Stand the system up and leave it up, for looking around; `lab down` takes it away."""
    from lab import upkeep

    stack = _async(lambda: upkeep.keep_up(_system(system), mode, tuple(defect or ()), _say))
    for name, address in stack:
        print(f"{name:24} {address}")


@app.command()
def down(
    run: Annotated[str, typer.Argument(help="A run's id; all kept ones when absent")] = "",
) -> None:
    """Take down what `lab up` left up."""
    from lab import upkeep

    for name in _async(lambda: upkeep.take_down(run)):
        print(f"removed {name}")


@app.command()
def ps() -> None:
    """Show every container of the lab: run, service, state, age."""
    from lab import upkeep

    for box in upkeep.containers():
        print(f"{box.run}  {box.service:12}  {box.status}{'  kept' if box.kept else ''}")


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="A service's name; all when absent")] = "",
    run: Annotated[str, typer.Option(help="A run's id; the newest one up when absent")] = "",
) -> None:
    """Print the logs of a stack that is up."""
    from lab import upkeep

    for name, text in upkeep.logs(run, service):
        print(f"--- {name}\n{text}")


@app.command()
def heal(
    run: Annotated[str, typer.Argument(help="A run's id; every dead run when absent")] = "",
) -> None:
    """Remove everything a killed run left; runs that are alive are not touched."""
    from lab import upkeep

    for name in upkeep.heal(run):
        print(f"removed {name}")


def _campaign(
    names: tuple[str, ...],
    profile: str,
    seed: int | None,
    tenants: int,
    mode: str,
    system: str,
    defect: list[str] | None,
    as_json: bool,
    *,
    junit: Path | None,
) -> NoReturn:
    """Plan, print seed and options, perform, report, exit."""
    from rich.console import Console

    from lab import campaign
    from lab.judging import Judged
    from lab.report import files, terminal

    request = campaign.Request(
        names=names,
        profile=_profile(profile),
        seed=secrets.randbits(31) if seed is None else seed,
        system=_system(system),
        tenants=_at_least(tenants, 0, "tenants"),
        mode=mode,
        defects=tuple(defect or ()),
    )
    console = Console(stderr=as_json)
    what = campaign.plan(request)
    for line in terminal.header(what):
        console.print(line, highlight=False, markup=False)

    def told(judged: Judged) -> None:
        files.write_result(judged)
        terminal.show(console, judged)

    with terminal.watching(console) as view:
        results = _async(lambda: campaign.conduct(what, view, told))
    if junit is not None:
        files.write_junit(results, junit)
        console.print(f"JUnit report: {junit}", highlight=False)
    if as_json:
        sys.stdout.buffer.write(files.encode([files.result(judged) for judged in results]))
    raise typer.Exit(precedence(*(judged.exit_code for judged in results)))


def _async(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` on the event loop; SIGINT and SIGTERM cancel it, and healing goes on."""
    caught: list[Signals] = []

    async def watch(scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
            async for number in signals:
                caught.append(number)
                scope.cancel()

    async def inside() -> T | None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                group.start_soon(watch, scope)
                result = await work()
                group.cancel_scope.cancel()
                return result
            group.cancel_scope.cancel()
        return None

    with one_line():
        result = anyio.run(inside)
    if caught:
        code = ExitCode.INTERRUPTED if caught[0] is SIGINT else ExitCode.TERMINATED
        _say(f"{Signals(caught[0]).name}: healed and taken down")
        raise typer.Exit(code)
    assert result is not None
    return result


def _profile(text: str) -> Profile:
    from lab.experiment import Profile

    try:
        return Profile(text)
    except ValueError:
        raise UsageError(
            f"there is no profile {text!r}", where="--profile", mend=f"one of {', '.join(Profile)}"
        ) from None


def _system(text: str) -> Path:
    from lab.catalog import system_folder

    return system_folder(text)


def _run_folder(run: Path) -> Path:
    from lab.campaign import RUNS

    return run if run.exists() else RUNS / run


def _at_least(value: int, least: int, name: str) -> int:
    if value < least:
        raise UsageError(f"{value} is too few", where=f"--{name}", mend=f"at least {least}")
    return value


def _list(rows: list[tuple[str, str]], as_json: bool) -> None:
    """Two columns, or a JSON list of {name, summary}."""
    if as_json:
        print(json.dumps([{"name": name, "summary": text} for name, text in rows], indent=2))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        print(f"{name:{width}}  {text}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _leave(number: int, _: object) -> NoReturn:
    """End at once with the signal's code: nothing has been started yet."""
    sys.exit(ExitCode.INTERRUPTED if number == SIGINT else ExitCode.TERMINATED)


def main() -> NoReturn:
    """The console script: one line and the right code for every error, a traceback for bugs."""
    # Outside the event loop nothing has to be healed, but the code must still not be 1, VIOLATED.
    signal(SIGINT, _leave)
    signal(SIGTERM, _leave)
    try:
        app()
    except LabError as error:
        _say(f"lab: {error}")
        code = error.exit_code
    except Exception:  # noqa: BLE001 - the outermost edge: a bug must not look like 1, VIOLATED
        traceback.print_exc()
        code = ExitCode.LAB_FAILED
    else:
        code = ExitCode.HELD
    sys.exit(code)
