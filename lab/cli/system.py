"""Commands for whoever brings a system of their own: `system check`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.loop import Leave, finished, say
from lab.cli.options import JsonOption, ModeOption, app, system_folder

if TYPE_CHECKING:
    from lab.conformance.bench import Finding

system = typer.Typer(no_args_is_help=True, help="For a system of your own.")
app.add_typer(system, name="system")


@system.callback()
def _group() -> None:
    """For a system of your own."""


@system.command()
def check(
    folder: Annotated[str, typer.Argument(help="The folder with stack.yaml and driver.py")],
    mode: ModeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a stack file, a stack or a driver, before any experiment."""
    from lab.conformance.examine import examine, exit_code

    def told(finding: Finding) -> None:
        if not as_json:
            print(finding, flush=True)

    where = system_folder(folder)
    findings = finished(lambda: examine(where, mode, say, told))
    if as_json:
        print(json.dumps([asdict(each) for each in findings], indent=2))
    raise Leave(exit_code(findings))
