"""The run's append-only journal: one JSON line an event, written before it matters.

The journal is the only link between a run and everything after it: verdicts, re-judging, healing.
`at_ns` is monotonic and relative to the run's epoch. Undo records (`Injecting`, `Created`) are on
disk before the act, so that the healer can undo what a killed lab had begun.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from lab.errors import LabError

FILE_NAME = "journal.jsonl"


class Opened(msgspec.Struct, frozen=True, tag="opened", kw_only=True):
    """The first line: everything needed to repeat the run and to judge it again.

    epoch_ns: monotonic clock at the start; wall: RFC 3339 time; options: as the person gave them;
    links: name -> kind of every link the system has; abilities and actions: what the system can do;
    shield: whether strangers on the host came last; governor: whether somebody could step in.
    """

    run: str
    experiment: str
    seed: int
    epoch_ns: int
    wall: str
    profile: str
    mode: str
    system: str
    tenants: int
    defects: tuple[str, ...] = ()
    links: dict[str, str] = {}
    abilities: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    shield: bool = False
    governor: bool = False


class Entered(msgspec.Struct, frozen=True, tag="entered", kw_only=True):
    """A phase begins; `ended_ns` is told by the next `Left`."""

    phase: str
    at_ns: int


class Left(msgspec.Struct, frozen=True, tag="left", kw_only=True):
    """A phase is over; `why` is `time` or what ended it early, as in `decided after 20 pairs`."""

    phase: str
    at_ns: int
    why: str = "time"


class Injecting(msgspec.Struct, frozen=True, tag="injecting", kw_only=True):
    """The undo record, on disk before the fault is injected; `settings` rebuilds the fault."""

    fault: str
    kind: str
    settings: dict[str, object]
    at_ns: int


class Injected(msgspec.Struct, frozen=True, tag="injected", kw_only=True):
    """The fault is in place; `asked_ns` is when the call began, so onset lies between the two."""

    fault: str
    asked_ns: int
    at_ns: int


class Confirmed(msgspec.Struct, frozen=True, tag="confirmed", kw_only=True):
    """Whether traffic and counters show that the fault bit, and how they show it."""

    fault: str
    bit: bool
    how: str
    observed: dict[str, float] = {}


class Healed(msgspec.Struct, frozen=True, tag="healed", kw_only=True):
    """The fault is gone; `error` is not empty when the heal failed (exit 4)."""

    fault: str
    asked_ns: int
    at_ns: int
    error: str = ""


class Created(msgspec.Struct, frozen=True, tag="created", kw_only=True):
    """Something of this run that has no engine label: a `process` (pid:start time), a
    `guest` (the id of a tenant made for a fault)."""

    kind: str
    name: str


class Removed(msgspec.Struct, frozen=True, tag="removed", kw_only=True):
    """What `Created` told of is gone again."""

    kind: str
    name: str


class Sampled(msgspec.Struct, frozen=True, tag="sampled", kw_only=True):
    """One reading of a probe: a census (`items` by kind), counters, or the generator's health."""

    probe: str
    at_ns: int
    items: dict[str, tuple[str, ...]] = {}
    values: dict[str, float] = {}


GOVERNOR = "governor"
"""The actor of what the governor does, and the probe of what it finds."""


class Acted(msgspec.Struct, frozen=True, tag="acted", kw_only=True):
    """The lab did something on purpose (governor, teardown), and why; to a tenant, if to one."""

    actor: str
    action: str
    reason: str
    at_ns: int
    tenant: str = ""


class Closed(msgspec.Struct, frozen=True, tag="closed", kw_only=True):
    """The last line; `error` says why the run did not finish."""

    at_ns: int
    error: str = ""


Event = (
    Opened
    | Entered
    | Left
    | Injecting
    | Injected
    | Confirmed
    | Healed
    | Created
    | Removed
    | Sampled
    | Acted
    | Closed
)


class Journal:
    """Appends events to `<folder>/journal.jsonl`; `durable=True` waits for the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE_NAME
        self._file = self.path.open("ab", buffering=0)
        self._encode = msgspec.json.Encoder().encode

    def append(self, event: Event, *, durable: bool = False) -> None:
        """Write one line. Raises LabError when the disk does not take it."""
        line = self._encode(event) + b"\n"
        try:
            if self._file.write(line) != len(line):
                raise OSError("short write")
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise LabError(
                f"the journal cannot be written: {error}",
                where=str(self.path),
                mend="free some disk space",
            ) from error

    def close(self) -> None:
        """Close the file; appending afterwards is an error."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def trim(folder: Path) -> None:
    """Take off a last line that a kill cut short, before another process appends its own."""
    path = folder / FILE_NAME
    if path.exists() and not (data := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def read(folder: Path) -> tuple[Event, ...]:
    """All events of a run, in order.

    A last line without its newline is a write cut short by a kill and is left out; anything else
    that does not decode raises LabError with the line's number.
    """
    path = folder / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabError(
            f"no journal to read: {error.strerror}",
            where=str(path),
            mend="`lab runs` lists the runs",
        ) from error
    decode = msgspec.json.Decoder(Event).decode
    events: list[Event] = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            events.append(decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LabError(f"line {number} is damaged: {error}", where=str(path)) from error
    return tuple(events)
