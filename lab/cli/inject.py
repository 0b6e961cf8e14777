"""The command `inject`: one fault, by hand, on a stack that is kept up."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli.loop import finished, say
from lab.cli.options import app

_ANY = {"ignore_unknown_options": True, "allow_extra_args": True}
"""A fault's fields are its options, and which there are depends on the fault."""


@app.command(context_settings=_ANY)
def inject(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="A fault's kind; `lab faults` lists them")],
    lasting: Annotated[str, typer.Option("--for", help="How long, as in 500ms, 30s or 2m")],
    link: Annotated[str, typer.Option(help="The link it hits, as in redis or client@tenant")] = "",
    service: Annotated[str, typer.Option(help="The service it hits")] = "",
    tenant: Annotated[str, typer.Option(help="The tenant it hits, by its id in the system")] = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter, as name=value (repeatable)")
    ] = None,
    run: Annotated[str, typer.Option(help="A kept stack's run; the newest when absent")] = "",
    ttl: Annotated[
        str, typer.Option(help="Frozen for longer than this, the command loses its fault")
    ] = "10s",
) -> None:
    """Hold one fault on a stack that `lab up` left up, and heal it; Ctrl-C heals at once.

    The fault's own parameters are options too, as in `lab inject latency --link redis --delay-ms
    200 --for 30s`; `lab faults` lists them with their ranges.
    """
    from lab.nemesis import injecting

    given = {"link": link, "service": service, "tenant": tenant}
    target = {name: value for name, value in given.items() if value}
    pairs = (*injecting.pairs_of(kind, context.args), *(parameter or ()))
    fault = injecting.fault_from(kind, target, pairs)
    seconds, ttl_seconds = injecting.seconds_of(lasting), injecting.seconds_of(ttl, "--ttl")
    finished(
        lambda: injecting.hold(fault, run, seconds, say, ttl_seconds), ended="healed, and left up"
    )
