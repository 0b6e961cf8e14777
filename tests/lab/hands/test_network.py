"""What a kernel cannot do is refused before anything is done, and named."""

from __future__ import annotations

from typing import cast

import anyio
import pytest

from faults.netns import HalfOpen
from lab.engine.api import Engine
from lab.engine.netfilter import Namespace
from lab.errors import LabError, UsageError
from lab.hands.real.network import NO_END, Grid, RunNetworks


class Blunt(RunNetworks):
    """The hand on a kernel that ends no sockets; it must not come as far as to put rules in."""

    def _do(self, service: str, verb: str, *words: str) -> Namespace:
        assert verb == "endable"
        raise LabError(f"its network namespace: {NO_END}", where=f"service {service}")


def test_half_open_is_refused_where_its_heal_could_end_no_socket() -> None:
    grid = Grid("run", {"redis": "c"}, "", ())
    networks = Blunt(cast("Engine", None), grid, "origin")
    with pytest.raises(UsageError, match="INET_DIAG_DESTROY"):
        anyio.run(networks.drop, HalfOpen("redis").drop)
