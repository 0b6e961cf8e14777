"""What accompanies a run beside its story: whoever watches it (a monitor) or steps in (a governor).

A companion sees the same operations as the journal and never touches the load itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from lab.hands import Lab
from lab.history import Op
from lab.journal import Journal
from lab.system import Site, Tenant


@dataclass(frozen=True, slots=True)
class Scene:
    """What is there once a run's tenants are connected; times count from `epoch_ns` (monotonic)."""

    lab: Lab
    site: Site
    tenants: tuple[Tenant, ...]
    journal: Journal
    epoch_ns: int


class Companion(Protocol):
    """Somebody beside one run, from when its tenants are connected to the end of its phases."""

    def beside(self, scene: Scene) -> AbstractAsyncContextManager[object]:
        """Accompany while the block lasts; leaving it gives back everything that was done."""
        ...

    def see(self, batch: Sequence[Op]) -> None:
        """Operations that just ended; called at least every 0.1 s while there is load. Quick."""
        ...
