"""The command `inject`: one fault, by hand, on a stack that is kept up."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.loop import finished, say
from lab.cli.options import app


@app.command()
def inject(
    kind: Annotated[str, typer.Argument(help="A fault's kind; `lab faults` lists them")],
    seconds: Annotated[float, typer.Option("--for", help="How long to hold it, in seconds")],
    link: Annotated[str, typer.Option(help="The link it hits, as in redis or client@tenant")] = "",
    service: Annotated[str, typer.Option(help="The service it hits")] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter, as name=value (repeatable)")
    ] = None,
    run: Annotated[str, typer.Option(help="A kept stack's run; the newest when absent")] = "",
) -> None:
    """Hold one fault on a stack that `lab up` left up, and heal it; Ctrl-C heals at once."""
    from lab import injecting

    target = {name: value for name, value in (("link", link), ("service", service)) if value}
    fault = injecting.fault_from(kind, target, parameter or ())
    finished(lambda: injecting.hold(fault, run, seconds, say), ended="healed, and left up")
