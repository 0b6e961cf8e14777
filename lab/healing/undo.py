"""Heals the faults of a stack from its journal alone: what a dead lab began, another process ends.

An undo record (`Injecting`) is on disk before its fault is injected. It is open until a `Healed`
without an error follows it; an open one is rebuilt from its kind and settings and healed through
the stack's labels and ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic_ns
from typing import cast

from lab import catalog
from lab.errors import LabError
from lab.fault import Fault, healed
from lab.hands import Lab
from lab.journal import (
    FILE_NAME,
    Created,
    Event,
    Healed,
    Injected,
    Injecting,
    Journal,
    Opened,
    Removed,
    read,
)


def unhealed(events: Iterable[Event]) -> tuple[Injecting, ...]:
    """The open undo records, the newest first: what was put on last is taken off first."""
    still: dict[str, Injecting] = {}
    for event in events:
        if isinstance(event, Injecting):
            still.pop(event.fault, None)
            still[event.fault] = event
        elif isinstance(event, Healed) and not event.error:
            still.pop(event.fault, None)
    return tuple(reversed(still.values()))


def guests_of(events: Iterable[Event]) -> tuple[str, ...]:
    """The tenants that were made for faults and are not known to be gone, by their ids."""
    there: dict[str, None] = {}
    for event in events:
        if isinstance(event, Created) and event.kind == "guest":
            there[event.name] = None
        elif isinstance(event, Removed) and event.kind == "guest":
            there.pop(event.name, None)
    return tuple(there)


def under_way(events: Iterable[Event]) -> tuple[Injecting, ...]:
    """The open records whose injection was never seen to end: its last call may still take hold."""
    begun: set[str] = set()
    events = tuple(events)
    for event in events:
        if isinstance(event, Injecting):
            begun.add(event.fault)
        elif isinstance(event, Injected):
            begun.discard(event.fault)
    return tuple(record for record in unhealed(events) if record.fault in begun)


def rebuilt(record: Injecting) -> Fault:
    """The fault of an undo record. Raises LabError for one that this lab does not know."""
    known = catalog.faults()
    if record.kind not in known:
        raise LabError(f"no fault {record.kind!r} is known here", where=record.fault)
    try:
        return cast("Callable[..., Fault]", known[record.kind])(**record.settings)
    except TypeError as error:
        raise LabError(f"its record does not fit: {error}", where=record.fault) from error


async def undo(lab: Lab, folder: Path, records: Iterable[Injecting]) -> tuple[str, ...]:
    """Heal these faults and note it in the journal of `folder`; returns their names.

    Every one is tried. Raises the first LabError when a heal failed.
    """
    done: list[str] = []
    problems: list[LabError] = []
    epoch_ns = _epoch_ns(folder)
    begun = {record.fault for record in under_way(events_of(folder))}
    with Journal(folder) as journal:
        for record in records:
            try:
                injected = record.fault not in begun
                fault = rebuilt(record)
                await healed(record.fault, fault, lab, journal, epoch_ns, injected=injected)
                done.append(record.fault)
            except LabError as problem:
                problems.append(problem)
    if problems:
        raise problems[0]
    return tuple(done)


def events_of(folder: Path) -> tuple[Event, ...]:
    """The events of a stack's own journal; none where there is no journal."""
    return read(folder) if (folder / FILE_NAME).exists() else ()


def _epoch_ns(folder: Path) -> int:
    """What the journal's times count from; without an `opened` line it is the machine's start."""
    opened = next((each for each in events_of(folder) if isinstance(each, Opened)), None)
    return opened.epoch_ns if opened else 0


def now_ns(folder: Path) -> int:
    """This moment, as the journal of `folder` tells it."""
    return monotonic_ns() - _epoch_ns(folder)
