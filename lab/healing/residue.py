"""What must be as it was once a run is over: read by small probes, compared as plain data.

Two censuses, each taken before and after: of the stack, by its hands (toxics, closed proxies,
frozen or limited containers, sessions, rules), and of this host, by the probes below. A hand that
can leave something behind offers `residue()`; a probe is a function from the run's id to what is
there. What differs is named, and the run ends with exit code 5.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Protocol, runtime_checkable

import psutil
from anyio import current_time, sleep

from lab.engine import belongings
from lab.errors import LabError
from lab.hands import Lab
from lab.system import Census

BEFORE, AFTER = "hands before", "hands after"
"""The probes in the journal that hold the two censuses of the stack."""

SETTLE_SECONDS = 5.0
"""What a fault or a tenant held is given back within this, or it is residue."""

_LOOP_FILES = "loop*/loop/backing_file"


@runtime_checkable
class Residual(Protocol):
    """A hand that can tell what a fault of its kind has left behind."""

    async def residue(self) -> Census:
        """All that is not as it is in a calm stack."""
        ...


async def of_hands(lab: Lab) -> Census:
    """What all hands together see that is not calm."""
    hands = (getattr(lab, field.name) for field in fields(lab))
    seen = [await hand.residue() for hand in hands if isinstance(hand, Residual)]
    return {kind: names for each in seen for kind, names in each.items() if names}


async def settled(lab: Lab, before: Census) -> Census:
    """`of_hands` once it is as it was before, or after the time for that is over.

    Raises LabError for what cannot be looked at even then: unseen is not calm.
    """
    until = current_time() + SETTLE_SECONDS
    while True:
        late = current_time() >= until
        try:
            after = await of_hands(lab)
            if late or after == before:
                return after
        except LabError:
            if late:
                raise
        await sleep(0.1)


def difference(before: Census, after: Census) -> tuple[str, ...]:
    """What is there now and was not, and what was there and is not any more, by kind and name."""
    came = (f"{k} {n}" for k in sorted(after) for n in after[k] if n not in before.get(k, ()))
    went = (f"{k} {n}" for k in sorted(before) for n in before[k] if n not in after.get(k, ()))
    return (*came, *(f"{gone} is gone" for gone in went))


def of_host(run: str) -> Census:
    """What this host has of the run, by every probe; blocking."""
    seen = {kind: probe(run) for kind, probe in PROBES.items()}
    return {kind: names for kind, names in seen.items() if names}


def _engine(run: str) -> tuple[str, ...]:
    """Containers, networks and volumes with the run's label."""
    return belongings.residue(run)


def _processes(_: str) -> tuple[str, ...]:
    """What this process started and what those started, by pid and start time."""
    children = psutil.Process().children(recursive=True)
    return tuple(sorted(f"{each.pid}:{each.create_time():.2f} {_name(each)}" for each in children))


def _sockets(_: str) -> tuple[str, ...]:
    """Where this process and its children listen."""
    me = psutil.Process()
    family = (me, *me.children(recursive=True))
    return tuple(sorted(at for each in family for at in listening(each)))


def listening(process: psutil.Process) -> tuple[str, ...]:
    """The addresses at which a process accepts connections from the network."""
    try:
        sockets = process.net_connections(kind="inet")
    except psutil.Error:  # it has just ended
        return ()
    open_ones = (each.laddr for each in sockets if each.status == psutil.CONN_LISTEN)
    return tuple(f"{at.ip}:{at.port}" for at in open_ones)


def _loop_devices(run: str) -> tuple[str, ...]:
    """Block devices on an image of the run's own."""
    backed = {path: path.read_text().strip() for path in Path("/sys/block").glob(_LOOP_FILES)}
    return tuple(sorted(f"{p.parts[3]} on {image}" for p, image in backed.items() if run in image))


def _mounts(run: str) -> tuple[str, ...]:
    """File systems that are mounted in this process's view under the run's name."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    places = (line.split(" ")[4] for line in lines)
    return tuple(sorted(place for place in places if run in place))


def _files(run: str) -> tuple[str, ...]:
    """Temporary files under the run's name; its own folder is meant to stay."""
    return tuple(sorted(name for name in os.listdir(tempfile.gettempdir()) if run in name))


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "ended"


PROBES: Mapping[str, Callable[[str], tuple[str, ...]]] = {
    "engine": _engine,
    "process": _processes,
    "listens at": _sockets,
    "loop device": _loop_devices,
    "mount": _mounts,
    "file": _files,
}
"""Kind -> probe of this host; each names what is there of a run."""
