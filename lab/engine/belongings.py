# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
"""What a run has in the engine, and its removal: nothing without this run's label is ever touched.

The sweep is the only thing that removes. The orderly end, a failed start and the healer all use it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lab.engine.api import FOLDER, KEPT, RUN, engine, told
from lab.engine.shield import groups, lower


def residue(run: str) -> tuple[str, ...]:
    """What of the run is still in the engine and among the cgroups, by kind and name."""
    with engine() as client:
        return (*(str(thing) for thing in client.found(run)), *map(str, groups(run)))


def sweep(run: str) -> tuple[str, ...]:
    """Remove everything that carries this run's label, once; returns what was there.

    Containers go first, side by side, with their anonymous volumes. What is still in use by
    something that is being removed is left for the next sweep.
    """
    with engine() as client, ThreadPoolExecutor(max_workers=8) as pool:
        there = client.found(run)
        for kind in ("container", "network", "volume"):
            list(pool.map(client.remove, [thing for thing in there if thing.kind == kind]))
        return (*(str(thing) for thing in there), *lower(run))


def published(run: str) -> tuple[tuple[str, str], ...]:
    """Container and `address:port` of every port that the run has on this host."""
    filters = {"label": f"{RUN}={run}"}
    with engine() as client:
        there = told(lambda: client.client.containers(filters=filters))
    return tuple(
        (f"container {each['Names'][0].lstrip('/')}", f"{port['IP']}:{port['PublicPort']}")
        for each in there
        for port in each["Ports"]
        if "PublicPort" in port
    )


def runs() -> dict[str, str]:
    """Run -> folder, for every run in the engine that was not kept on purpose."""
    return {marks[RUN]: marks.get(FOLDER, "") for marks in _marks() if KEPT not in marks}


def kept_runs() -> dict[str, str]:
    """Run -> folder, for every stack that somebody keeps up on purpose."""
    return {marks[RUN]: marks.get(FOLDER, "") for marks in _marks() if KEPT in marks}


def _marks() -> list[dict[str, str]]:
    """The labels of every container and network of the lab."""
    filters = {"label": RUN}
    with engine() as client:
        there = told(lambda: client.client.containers(all=True, filters=filters))
        there += told(lambda: client.client.networks(filters=filters))
    return [thing["Labels"] for thing in there]
