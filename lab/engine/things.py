"""What the engine tells of its objects, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """An object of the engine: `kind` is container, network or volume."""

    kind: str
    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Standing:
    """A container of the lab, whoever's run it is; `status` as in `up 3 minutes`."""

    run: str
    service: str
    id: str
    status: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that does not run any more; `status` as in `exited (1)`."""

    service: str
    id: str
    status: str


@dataclass(frozen=True, slots=True)
class Placed:
    """A container: its ports on this host, at which addresses, its own in each network, and what
    it was created with."""

    running: bool
    pid: int
    ports: Mapping[int, int]
    hosts: frozenset[str]
    addresses: Mapping[str, str]
    labels: Mapping[str, str]
    environment: Mapping[str, str]
