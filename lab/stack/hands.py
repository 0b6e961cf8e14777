"""All hands on a stack that stands, its own or a kept one, from the ids of its containers alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from lab.engine.api import Engine
from lab.engine.keeper import clocks, disks
from lab.engine.netns import SIDECAR
from lab.hands import Lab
from lab.hands.real.burdens import ExecBurdens
from lab.hands.real.clients import NoClients
from lab.hands.real.clocks import FileClocks
from lab.hands.real.containers import RunContainers
from lab.hands.real.disks import LoopDisks
from lab.hands.real.holding import Holding
from lab.hands.real.links import ToxiproxyLinks
from lab.hands.real.network import Grid, RunNetworks, Wire
from lab.hands.real.postgres import RunPostgres
from lab.hands.real.redis import RunRedis
from lab.hands.real.stubs import RunStubs
from lab.stack.fittings import KEEPER, disk_volume
from lab.stack.layout import Layout
from lab.stack.plan import OBSERVER, ORIGIN, TOXIPROXY

LABS_OWN = (TOXIPROXY, KEEPER, SIDECAR)
"""What hits these would take every other fault away with it: they are no services."""


def hands(
    engine: Engine,
    links: ToxiproxyLinks,
    ids: Mapping[str, str],
    run: str,
    layout: Layout,
) -> Lab:
    """What faults may touch of `run`. `ids`: service -> container, the lab's own too.

    Asks the engine nothing: who has a disk or a clock is found out when a fault is about one.
    """
    services = {name: container for name, container in ids.items() if name not in LABS_OWN}
    keeper = ids.get(KEEPER, "")
    containers = RunContainers(engine, services, layout.agents)
    postgres, redis = layout.stores.postgres, layout.stores.redis

    @cache
    def devices() -> dict[str, str]:
        return _devices(engine, run, services) if keeper else {}

    @cache
    def clocked() -> dict[str, str]:
        return _clocks(engine, keeper, services) if keeper else {}

    def inside(service: str) -> Holding:
        return Holding(engine, containers, service, services[service])

    return Lab(
        links=links,
        containers=containers,
        networks=RunNetworks(engine, _grid(ids, services, run, layout), ORIGIN),
        postgres=RunPostgres(inside(postgres.service) if postgres else None, postgres, run),
        redis=RunRedis(inside(redis.service) if redis else None, redis),
        clients=NoClients(),
        stubs=RunStubs({name: (each, inside(name)) for name, each in layout.stubs.items()}),
        burdens=ExecBurdens(engine, containers),
        disks=LoopDisks(engine, keeper, devices, services),
        clocks=FileClocks(engine, keeper, clocked),
    )


def _grid(ids: Mapping[str, str], services: Mapping[str, str], run: str, layout: Layout) -> Grid:
    wires = tuple(
        Wire(p.name, p.network, p.port, p.upstream)
        for p in layout.proxies
        if not p.name.startswith(f"{OBSERVER}@")
    )
    return Grid(run, services, ids.get(TOXIPROXY, ""), wires)


def _devices(engine: Engine, run: str, services: Mapping[str, str]) -> dict[str, str]:
    volumes = {f"crosstalk-{run}-{disk_volume(name)}": name for name in services}
    return {volumes[volume]: device for volume, device in disks(engine, volumes).items()}


def _clocks(engine: Engine, keeper: str, services: Mapping[str, str]) -> dict[str, str]:
    return {name: services[name] for name in clocks(engine, keeper) if name in services}
