"""`calibrate`: what this host can tell at all, in half a minute and without the engine."""

from __future__ import annotations

import json
from dataclasses import asdict

from lab.cli.loop import Leave, finished, say
from lab.cli.options import JsonOption, app
from lab.errors import ExitCode


@app.command()
def calibrate(as_json: JsonOption = False) -> None:
    """Measure this host for half a minute: what effect a run could see here, and what disturbs."""
    from lab.calibrate import calibrate as measured
    from lab.calibrate import rows

    found = finished(measured, ended="ended")
    if as_json:
        print(json.dumps(asdict(found) | {"unfit": found.unfit}, indent=2))
    else:
        for name, value in rows(found):
            print(f"{name:32}{value}")
    if found.unfit:
        say(f"lab: {found.unfit}")
    raise Leave(ExitCode.UNKNOWN if found.unfit else ExitCode.HELD)
