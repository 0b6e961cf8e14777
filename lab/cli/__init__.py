"""The command line: thin commands over the lab's own functions; exit codes as in `lab.errors`.

Heavy modules are imported inside the commands, so that `lab --help` answers at once.
"""

from __future__ import annotations

import sys
import traceback
from signal import SIGINT, SIGTERM, signal
from subprocess import CalledProcessError
from typing import NoReturn

from lab.cli import calibrate, inject, lists, runs, stacks, system
from lab.cli.loop import Leave, say
from lab.cli.options import app
from lab.errors import ExitCode, LabError

__all__ = ["app", "calibrate", "inject", "lists", "main", "runs", "stacks", "system"]


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
    except Leave as done:
        code = done.code
    except SystemExit as foreign:  # a usage error is 2; a pipe that closed would be 1, VIOLATED
        code = ExitCode.LAB_FAILED if foreign.code == 1 else foreign.code
    except LabError as error:
        say(f"lab: {error}")
        code = error.exit_code
    except (OSError, CalledProcessError) as error:
        say(f"lab: {error} (a full disk, a folder without rights, or a tool that failed)")
        code = ExitCode.LAB_FAILED
    except Exception:  # noqa: BLE001 - the outermost edge: a bug must not look like 1, VIOLATED
        traceback.print_exc()
        code = ExitCode.LAB_FAILED
    else:
        code = ExitCode.HELD
    sys.exit(code)
