"""What a stack is fitted with for some faults, and only for them: it costs time and privileges.

    disks    the folders that `x-lab.disks` names lie on loop images, which can lose power
    clocks   the services that `x-lab.clocks` names read a time of day that can be set

Both belong to a keeper (`lab/engine/keeper.py`), the one container of a run that may mount.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum

import msgspec

from lab.engine.api import Engine
from lab.engine.keeper import (
    CLOCK_FOLDER,
    KEEPER,
    KEEPER_IMAGE,
    disks,
    mount_disk,
    on_disk,
    set_clock,
    start_keeper,
)
from lab.errors import UsageError
from lab.stack.document import nearest
from lab.stack.file import SystemFile
from lab.stack.schema import Service, pairs

__all__ = [
    "KEEPER",
    "KEEPER_IMAGE",
    "Fitting",
    "disk_volume",
    "fit",
    "fitted",
    "fittings_of",
    "lacking",
    "settle",
]

DISK_MB = 1024
"""A sparse image: it takes what is written, not this."""

CLOCK_VOLUME = "clock"


class Fitting(StrEnum):
    """Something a fault needs of the stack it is injected into (`Fault.needs`)."""

    DISKS = "disks"
    CLOCKS = "clocks"


def fittings_of(names: Iterable[str]) -> frozenset[Fitting]:
    """The fittings of these names. Raises UsageError for a name that is none."""
    for name in names:
        if name not in tuple(Fitting):
            raise UsageError(f"no fitting `{name}`", mend=nearest(name, tuple(Fitting)))
    return frozenset(Fitting(name) for name in names)


def disk_volume(service: str) -> str:
    """The part of the volume's name that tells whose disk it is."""
    return f"disk-{service}"


def fitted(
    services: Mapping[str, Service], system: SystemFile, fittings: Collection[str]
) -> dict[str, Service]:
    """The services with their folders on the run's own disks, and with their own clocks."""
    made = dict(services)
    for name, path in system.disks.items() if Fitting.DISKS in fittings else ():
        made[name] = _on_disk(made[name], name, path)
    for name in system.clocks if Fitting.CLOCKS in fittings else ():
        made[name] = _with_clock(made[name], name)
    return made


def fit(
    engine: Engine,
    system: SystemFile,
    fittings: Collection[str],
    named: Callable[[str], str],
    labels: Callable[[str], dict[str, str]],
) -> str:
    """Start the keeper and make what the services will mount; blocking. Returns the keeper's id.

    named: a part's name -> its name in the engine; labels: a service -> its labels. Without
    fittings there is no keeper, and the id is ''. Raises LabError when the engine's host has no
    free loop device, or refuses the keeper its rights.
    """
    if not fittings:
        return ""
    clock = named(CLOCK_VOLUME)
    engine.create_volume(clock, labels(""))
    keeper = start_keeper(engine, named(KEEPER), labels(KEEPER), clock)
    if Fitting.CLOCKS in fittings:
        for name in system.clocks:
            set_clock(engine, keeper, name, 0.0)
    if Fitting.DISKS in fittings:
        for name in system.disks:
            device = on_disk(engine, keeper, "make", named(disk_volume(name)), str(DISK_MB))
            mount_disk(engine, named(disk_volume(name)), device, labels(""))
    return keeper


def settle(engine: Engine, keeper: str, system: SystemFile, named: Callable[[str], str]) -> None:
    """Write down what the stores made when they first started, as if that were long ago; blocking.

    A first start may leave its files to the kernel: a power cut right after it would not be about
    what tenants wrote.
    """
    volumes = [named(disk_volume(name)) for name in system.disks] if keeper else []
    for device in disks(engine, volumes).values():
        on_disk(engine, keeper, "sync", device)


def _on_disk(service: Service, name: str, path: str) -> Service:
    """The disk takes the place of whatever the stack file mounts there."""
    others = tuple(v for v in service.volumes if v.split(":")[1] != path)
    mounts = (service.tmpfs,) if isinstance(service.tmpfs, str) else service.tmpfs
    return msgspec.structs.replace(
        service,
        volumes=(*others, f"{disk_volume(name)}:{path}"),
        tmpfs=tuple(mount for mount in mounts if mount.partition(":")[0] != path),
    )


def _with_clock(service: Service, name: str) -> Service:
    """A preloaded library in every process of the service (`compose/images/fittings/clock.c`)."""
    settings = {
        "LD_PRELOAD": f"{CLOCK_FOLDER}/clock.so",
        "CROSSTALK_CLOCK": f"{CLOCK_FOLDER}/{name}",
    }
    return msgspec.structs.replace(
        service,
        volumes=(*service.volumes, f"{CLOCK_VOLUME}:{CLOCK_FOLDER}:ro"),
        environment={**pairs(service.environment), **settings},
    )


def lacking(system: SystemFile, needs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What a system has not of (fitting, service) pairs, as in `a disk of cache`."""
    has = {Fitting.DISKS: frozenset(system.disks), Fitting.CLOCKS: frozenset(system.clocks)}
    return tuple(
        f"a {need.removesuffix('s')} of {service} (`x-lab.{need}`)"
        for need, service in needs
        if service not in has[Fitting(need)]
    )
