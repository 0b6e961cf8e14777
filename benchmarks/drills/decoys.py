# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
"""Containers that look like a run's own and are not: nothing of the lab may ever touch them."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from lab.engine.api import FOLDER, RUN, SERVICE, Engine, engine, labels
from lab.stack.plan import TOXIPROXY_IMAGE

MARK = "crosstalk-decoy"
"""What they are known by here; no code of the lab looks at it."""

RUNNING = 4
"""Only these are started; to create one costs little."""


@contextmanager
def decoys(run: str, count: int = 200) -> Generator[str]:
    """Look-alikes of `run` for the body: names, services and labels that are nearly its own."""
    token = secrets.token_hex(4)
    with engine() as client, ThreadPoolExecutor(max_workers=8) as pool:
        try:
            list(pool.map(lambda n: _make(client, token, run, n), range(count)))
            yield token
        finally:
            filters = {"label": f"{MARK}={token}"}
            there = client.client.containers(all=True, filters=filters)
            list(pool.map(lambda c: client.client.remove_container(c["Id"], force=True), there))


def state(token: str) -> Mapping[str, str]:
    """Decoy -> everything that a touch would change: its state, its process, its limits."""
    with engine() as client:
        there = client.client.containers(all=True, filters={"label": f"{MARK}={token}"})
        seen = {each["Id"]: client.client.inspect_container(each["Id"]) for each in there}
    return {
        box: f"{s['Name']} {s['State']} {s['RestartCount']} {s['HostConfig']['Memory']}"
        for box, s in seen.items()
    }


def _make(client: Engine, token: str, run: str, number: int) -> None:
    service = ("app", "redis", "toxiproxy", "postgres")[number % 4]
    almost = (
        {RUN: f"{run}x", FOLDER: "/nowhere", SERVICE: service},
        {RUN: run[:-1], FOLDER: "/nowhere", SERVICE: service},
        {SERVICE: service, FOLDER: "/nowhere"},
        {"crosstalk": run, "run": run},
        labels(f"{run}-{number}", "/nowhere", service),
    )[number % 5]
    made = client.client.create_container(
        TOXIPROXY_IMAGE,
        name=f"crosstalk-{run}-{service}-{number}-{token}",
        labels=almost | {MARK: token},
        network_disabled=True,
    )
    if number < RUNNING:
        client.client.start(made["Id"])
