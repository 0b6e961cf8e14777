"""Commands that run and judge: `run`, `chaos`, `judge`, `runs`."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lab.cli.loop import Leave, finished
from lab.cli.options import (
    DefectOption,
    GovernorOption,
    JsonOption,
    JunitOption,
    ModeOption,
    MonitorHzOption,
    MonitorOption,
    Name,
    ProfileOption,
    RunArgument,
    SeedOption,
    ShieldOption,
    SystemOption,
    TenantsOption,
    app,
    system_folder,
)
from lab.errors import UsageError, precedence

if TYPE_CHECKING:
    from lab.campaign import Request
    from lab.experiment import Profile


@app.command()
def run(
    name: Name,
    profile: ProfileOption = "standard",
    seed: SeedOption = None,
    tenants: TenantsOption = 0,
    mode: ModeOption = "",
    system: SystemOption = "",
    defect: DefectOption = None,
    shield: ShieldOption = True,
    monitor: MonitorOption = True,
    monitor_hz: MonitorHzOption = 1.0,
    governor: GovernorOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one experiment and judge it."""
    from lab.campaign import Request

    request = Request(
        names=(name,),
        profile=_profile(profile),
        seed=_drawn(seed),
        system=system_folder(system),
        tenants=_at_least(tenants, 0, "tenants"),
        mode=mode,
        defects=tuple(defect or ()),
        shield=shield,
        monitor_hz=monitor_hz if monitor else 0.0,
        governor=governor,
    )
    _campaign(request, as_json=as_json)


@app.command()
def chaos(
    profile: ProfileOption = "quick",
    seed: SeedOption = None,
    mode: ModeOption = "",
    system: SystemOption = "",
    defect: DefectOption = None,
    shield: ShieldOption = True,
    monitor: MonitorOption = True,
    monitor_hz: MonitorHzOption = 1.0,
    governor: GovernorOption = False,
    as_json: JsonOption = False,
    junit: JunitOption = Path("runs/junit.xml"),
) -> None:
    """Run every experiment that applies to the system on one stack: the CI stage."""
    from lab.campaign import Request, fitting

    folder = system_folder(system)
    request = Request(
        names=fitting(folder),
        profile=_profile(profile),
        seed=_drawn(seed),
        system=folder,
        mode=mode,
        defects=tuple(defect or ()),
        shield=shield,
        monitor_hz=monitor_hz if monitor else 0.0,
        governor=governor,
    )
    _campaign(request, as_json=as_json, junit=junit)


@app.command()
def judge(run: RunArgument, as_json: JsonOption = False) -> None:
    """Judge a run again from its journal and events; needs no engine."""

    from lab.judging import judge as judge_folder
    from lab.report import files, terminal

    judged = judge_folder(_run_folder(run))
    if as_json:
        sys.stdout.buffer.write(files.encode([files.result(judged)]))
    else:
        terminal.show(terminal.console(to_stderr=False), judged)
    raise Leave(judged.exit_code)


@app.command()
def runs() -> None:
    """List the runs, newest first."""
    from lab.campaign import runs as all_runs

    for folder in all_runs():
        print(folder)


def _campaign(request: Request, *, as_json: bool, junit: Path | None = None) -> NoReturn:
    """Plan, print seed and options, perform, report, exit."""

    from lab import campaign
    from lab.judging import Judged
    from lab.report import files, terminal

    console = terminal.console(to_stderr=as_json)
    what = campaign.plan(request)
    for line in terminal.header(what):
        console.print(line, highlight=False, markup=False)

    known: dict[Path, Judged] = {}

    def told(judged: Judged) -> None:
        known[judged.folder] = judged
        files.write_result(judged)
        terminal.show(console, judged)

    try:
        with terminal.watching(console) as view:
            results = finished(lambda: campaign.conduct(what, view, told))
    finally:
        if junit is not None:  # also after an interruption: what was found is not lost
            files.write_junit(list(known.values()), junit)
            console.print(f"JUnit report: {junit}", highlight=False)
    if as_json:
        sys.stdout.buffer.write(files.encode([files.result(judged) for judged in results]))
    raise Leave(precedence(*(judged.exit_code for judged in results)))


def _drawn(seed: int | None) -> int:
    """The seed that was given, or one that nobody chose."""
    return secrets.randbits(31) if seed is None else seed


def _profile(text: str) -> Profile:
    from lab.experiment import Profile

    try:
        return Profile(text)
    except ValueError:
        raise UsageError(
            f"there is no profile {text!r}", where="--profile", mend=f"one of {', '.join(Profile)}"
        ) from None


def _run_folder(run: Path) -> Path:
    from lab.campaign import RUNS

    return run if run.exists() else RUNS / run


def _at_least(value: int, least: int, name: str) -> int:
    if value < least:
        raise UsageError(f"{value} is too few", where=f"--{name}", mend=f"at least {least}")
    return value
