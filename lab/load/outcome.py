"""What an exception of a driver means: a definite no, an unknown, or a bug.

| raised by the session                                         | outcome                      |
|---------------------------------------------------------------|------------------------------|
| Refused                                                       | FAIL `refused: <its words>`  |
| TimeoutError                                                  | INFO `timeout`               |
| OSError, EOFError, WebSocketException, aiohttp.ClientError    | INFO `reset`                 |
| other RuntimeError, ValueError (a reply that cannot be read)  | INFO `<class name>`          |
| anything else                                                 | LabError: the driver's bug   |
"""

from __future__ import annotations

from pathlib import Path

from websockets.exceptions import WebSocketException

from lab.actions import Claim, Edit, List, Raw, Read, Spend, Step, Work, Write
from lab.errors import LabError, Refused
from lab.history import Outcome

RESET, TIMEOUT, ABANDONED, CENSORED = "reset", "timeout", "abandoned", "censored"
DROPPED, NOT_CONNECTED = "dropped", "not connected"

WORDS_MAX = 80
RECEIVED_MAX = 65_536
"""Characters of a reply that are kept; what was cut off is marked, never dropped in silence."""


def classify(error: Exception, driver: Path) -> tuple[Outcome, str]:
    """The outcome and error of what a driver raised. Raises LabError for the driver's bugs."""
    match error:
        case Refused():
            words = " ".join(str(error).split())
            return Outcome.FAIL, f"refused: {words[:WORDS_MAX]}".rstrip(": ")
        case TimeoutError():
            return Outcome.INFO, TIMEOUT
        case OSError() | EOFError() | WebSocketException():
            return Outcome.INFO, RESET
        case RuntimeError() | ValueError():
            return Outcome.INFO, type(error).__name__
        case LabError():
            raise error
        case _:
            return _rare(error, driver)


def _rare(error: Exception, driver: Path) -> tuple[Outcome, str]:
    # Imported here: only a driver that uses aiohttp, and has paid for its import, raises its
    # errors.
    from aiohttp import ClientError

    if isinstance(error, ClientError):
        return Outcome.INFO, RESET
    raise LabError(
        f"the driver raised {type(error).__name__}: {error}",
        where=str(driver),
        mend="a session raises Refused, TimeoutError, OSError, RuntimeError or ValueError only",
    ) from error


def sent_by(step: Step) -> str:
    """What `Op.sent` says of a step: the value, key, kind, amount or name that was sent."""
    match step:
        case Write(value=text) | Read(key=text) | Work(kind=text):
            return text
        case Edit(name=text) | Claim(resource=text):
            return text
        case Spend(amount=amount):
            return str(amount)
        case List() | Raw():
            return ""
        case _:  # Abandon
            return sent_by(step.action)


def bounded(text: str) -> str:
    """The text, cut at RECEIVED_MAX characters with a mark that says how much is missing."""
    if len(text) <= RECEIVED_MAX:
        return text
    return f"{text[:RECEIVED_MAX]}[cut: {len(text) - RECEIVED_MAX} more characters]"
