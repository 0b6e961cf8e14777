"""Commands that tell what there is: `experiments`, `faults`, `defects`, `docs`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lab.cli.options import JsonOption, SystemOption, app, system_folder


@app.command()
def experiments(as_json: JsonOption = False) -> None:
    """List the experiments."""
    from lab import catalog

    _list([(e.name, e.summary) for e in catalog.experiments().values()], as_json)


@app.command()
def faults(as_json: JsonOption = False) -> None:
    """List the faults and their parameters, as `lab inject` takes them."""
    from lab import catalog
    from lab.fault import covers_open
    from lab.nemesis.parameters import parameters
    from lab.report.tables import first_line

    known = {
        kind: (first_line(f), parameters(f), covers_open(f)) for kind, f in catalog.faults().items()
    }
    if as_json:
        rows = [
            {
                "name": kind,
                "summary": summary,
                "parameters": [asdict(each) for each in given],
                "covers_open_connections": covers,
            }
            for kind, (summary, given, covers) in known.items()
        ]
        print(json.dumps(rows, indent=2))
        return
    for kind, (summary, given, covers) in known.items():
        print(f"{kind}  {summary}{'' if covers else ' (not on open connections)'}")
        for each in given:
            print(f"    {each}")


@app.command()
def defects(system: SystemOption = "", as_json: JsonOption = False) -> None:
    """List the defects that can be planted in the system."""
    from lab.stack import file as stackfile

    known = stackfile.load(system_folder(system)).defects
    if as_json:
        print(json.dumps([{"name": d, **asdict(v)} for d, v in known.items()], indent=2))
        return
    told = {d: f"{v.requirement:4} {v.verifier:9} {v.severity:8}" for d, v in known.items()}
    late = {d: " (at start)" if v.at_start else "" for d, v in known.items()}
    _list([(d, f"{told[d]} {v.summary}{late[d]}") for d, v in known.items()], as_json)


@app.command()
def docs(
    files: Annotated[
        list[Path] | None, typer.Argument(help="The documents; README.md and docs/ when absent")
    ] = None,
) -> None:
    """Fill the documents' generated tables anew."""
    from lab.report.tables import refill

    for file in files or [Path("README.md"), *sorted(Path("docs").glob("*.md"))]:
        print(f"{file}: {'refilled' if refill(file) else 'up to date'}")


def _list(rows: list[tuple[str, str]], as_json: bool) -> None:
    """Two columns, or a JSON list of {name, summary}."""
    if as_json:
        print(json.dumps([{"name": name, "summary": text} for name, text in rows], indent=2))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        print(f"{name:{width}}  {text}")
