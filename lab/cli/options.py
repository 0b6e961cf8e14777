"""The options that commands share, and the app they hang on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Crosstalk: a chaos and fault-injection lab for multi-tenant backends.",
)

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
ShieldOption = Annotated[
    bool, typer.Option(help="Strangers on the host come last, where it allows that")
]
MonitorOption = Annotated[bool, typer.Option(help="Measure who uses what while the run goes on")]
MonitorHzOption = Annotated[
    float, typer.Option(help="How often to read what changes fast; up to 20 a second")
]
GovernorOption = Annotated[
    bool, typer.Option(help="Find who disturbs the others, and hold that tenant to its share")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output")]
RunArgument = Annotated[Path, typer.Argument(help="A run's id or folder, as `lab runs` lists them")]
JunitOption = Annotated[Path, typer.Option(help="Where to write the JUnit report")]


def system_folder(text: str) -> Path:
    """The folder of the system under test that a person named."""
    from lab.catalog import system_folder as found

    return found(text)
