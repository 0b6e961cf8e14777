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
    """List the faults."""
    from lab import catalog
    from lab.report.tables import first_line

    _list([(kind, first_line(fault)) for kind, fault in catalog.faults().items()], as_json)


@app.command()
def defects(system: SystemOption = "", as_json: JsonOption = False) -> None:
    """List the defects that can be planted in the system."""
    from lab.stack import file as stackfile

    known = stackfile.load(system_folder(system)).defects
    if as_json:
        print(json.dumps([{"name": d, **asdict(v)} for d, v in known.items()], indent=2))
        return
    _list([(d, f"{v.summary} -> {v.verifier} ({v.severity})") for d, v in known.items()], as_json)


@app.command()
def docs(
    file: Annotated[Path, typer.Argument(help="The document to refill")] = Path("README.md"),
) -> None:
    """Fill a document's generated tables anew."""
    from lab.report.tables import refill

    print(f"{file}: {'refilled' if refill(file) else 'up to date'}")


def _list(rows: list[tuple[str, str]], as_json: bool) -> None:
    """Two columns, or a JSON list of {name, summary}."""
    if as_json:
        print(json.dumps([{"name": name, "summary": text} for name, text in rows], indent=2))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        print(f"{name:{width}}  {text}")
