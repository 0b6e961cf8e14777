# pyright: reportUnknownMemberType=false, reportArgumentType=false
"""How long a system takes to stand, beside what it could cost and what else people use.

    python -m benchmarks.stack_start [SYSTEM FOLDER] [REPETITIONS]

| row | what it is |
|---|---|
| slowest single container | each container alone, by the engine API; the slowest |
| engine API, side by side | the same networks, containers, proxies; plain docker-py in threads |
| lab | `standing`, until every link is ready and checked end to end |
| docker-compose | `up -d` on the same file (no Toxiproxy), and its health; if installed |

The rows take turns within each repetition, so that a noisy moment of the host hits them all.
Prints medians, and their ratios to the plain engine API.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from statistics import median
from time import monotonic, sleep
from typing import Any

import anyio
import docker
import requests

from lab.engine.api import Engine, labels
from lab.engine.belongings import sweep
from lab.stack.file import CONTROL_PORT, SystemFile, load
from lab.stack.plan import EDGE, TOXIPROXY, TOXIPROXY_IMAGE, Plan, create_settings, plan, probe
from lab.stack.schema import Service
from lab.stack.standing import standing

COHORTS = ("quiet", "noisy")


def variables(system: SystemFile, run: str) -> dict[str, str]:
    """What the lab would give the system."""
    made = {name: token_hex(32) for name in (*system.variables, "LAB_TOKEN")}
    mode = system.chosen_mode("")
    return made | {"LAB_RUN": run, "LAB_MODE": mode, "LAB_DEFECTS": ""}


@contextmanager
def swept() -> Generator[str]:
    """A run's id; whatever carries it is gone afterwards."""
    run = f"bench-{token_hex(4)}"
    try:
        yield run
    finally:
        while sweep(run):
            pass


class Plain:
    """A start with nothing but docker-py's low-level client."""

    def __init__(self, system: SystemFile, run: str) -> None:
        self.system, self.run = system, run
        self.services = system.filled_services(variables(system, run))
        self.client = docker.from_env(max_pool_size=32).api
        self.engine = Engine(self.client)

    def named(self, part: str) -> str:
        """As the lab names its objects."""
        return f"crosstalk-{self.run}-{part}"

    def network(self, name: str) -> None:
        """One network."""
        marks = labels(self.run, "")
        self.client.create_network(self.named(name), internal=name != EDGE, labels=marks)

    def service(self, name: str, service: Service, home: str) -> None:
        """One service, from creation to health."""
        made = create_settings(service, name, self.system.folder, self.named(""))
        others: dict[str, Any] = dict(made.others)
        entrypoint = others.pop("entrypoint", None)
        top = {k: others.pop(k) for k in ("hostname", "user", "working_dir") if k in others}
        for key in ("healthcheck", "stop_signal"):
            others.pop(key, None)
        binds = [f"{source}:{target}:{rights}" for source, target, rights in made.volumes]
        tmpfs = dict.fromkeys(made.tmpfs, "")
        config = self.client.create_host_config(binds=binds, tmpfs=tmpfs, **others)
        self.begin(
            name,
            home,
            f"{name}-origin",
            image=service.image,
            command=made.command,
            entrypoint=entrypoint,
            environment=made.environment,
            host_config=config,
            **top,
        )
        if command := probe(service):
            self.engine.execute(self.named(name), command)

    def begin(self, name: str, home: str, alias: str, **settings: Any) -> None:
        """Create and start one container; the settings are the engine API's own."""
        ends = {self.named(home): self.client.create_endpoint_config(aliases=[alias])}
        self.client.create_container(
            name=self.named(name),
            labels=labels(self.run, "", name),
            networking_config=self.client.create_networking_config(ends),
            **settings,
        )
        if name == TOXIPROXY:
            for network, aliases in self.layout.aliases.items():
                self.client.connect_container_to_network(
                    self.named(name), self.named(network), aliases=list(aliases)
                )
        self.client.start(self.named(name))

    def toxiproxy(self) -> None:
        """Toxiproxy and its proxies."""
        ports = (CONTROL_PORT, *self.layout.published)
        config = self.client.create_host_config(
            port_bindings=dict.fromkeys(ports, ("127.0.0.1",)), cap_drop=["ALL"], read_only=True
        )
        self.begin(
            TOXIPROXY, EDGE, TOXIPROXY, image=TOXIPROXY_IMAGE, ports=list(ports), host_config=config
        )
        placed = self.engine.placed(self.named(TOXIPROXY))
        proxies = [
            {
                "name": proxy.name,
                "listen": f"{placed.addresses[self.named(proxy.network)]}:{proxy.port}",
                "upstream": proxy.upstream,
                "enabled": True,
            }
            for proxy in self.layout.proxies
        ]
        with requests.Session() as session:
            session.trust_env = False
            while True:
                try:
                    control = f"http://127.0.0.1:{placed.ports[CONTROL_PORT]}/populate"
                    session.post(control, json=proxies, timeout=2).raise_for_status()
                    return
                except requests.ConnectionError:
                    sleep(0.005)

    def side_by_side(self) -> float:
        """Seconds until everything is ready."""
        self.layout: Plan = plan(self.system, COHORTS)
        began = monotonic()
        with ThreadPoolExecutor(max_workers=24) as pool:
            list(pool.map(self.network, self.layout.networks))
            waits = [pool.submit(self.toxiproxy)]
            for name, service in self.services.items():
                waits.append(pool.submit(self.service, name, service, self.layout.home[name]))
            for each in waits:
                each.result()
        return monotonic() - began

    def alone(self, name: str) -> float:
        """Seconds for one container alone."""
        self.network(EDGE)
        began = monotonic()
        self.service(name, self.services[name], EDGE)
        return monotonic() - began


def plain(system: SystemFile) -> float:
    """The whole system by the plain engine API."""
    with swept() as run:
        return Plain(system, run).side_by_side()


def slowest(system: SystemFile) -> float:
    """The slowest of the containers that are ready without the others."""
    alone: list[float] = []
    for name, service in system.services.items():
        if not any(name in link.consumers for link in system.links.values()):
            with swept() as run:
                alone.append(Plain(system, run).alone(name))
        assert service
    return max(alone)


def lab(system: SystemFile) -> float:
    """The whole system by the lab."""

    async def start() -> float:
        with tempfile.TemporaryDirectory() as folder:
            up = standing(system, run=run, folder=Path(folder), cohorts=COHORTS, say=lambda _: None)
            async with up as stack:
                return stack.timings["total"]

    with swept() as run:
        return anyio.run(start)


def compose(system: SystemFile) -> float:
    """`docker-compose up -d` on the same file, and the same health checks."""
    project = f"bench{token_hex(4)}"
    words = ["docker-compose", "-p", project, "-f", str(system.folder / "stack.yaml")]
    env = os.environ | variables(system, project)

    def call(*more: str) -> str:
        done = subprocess.run([*words, *more], env=env, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        began = monotonic()
        call("up", "-d", "--no-build")
        client = docker.from_env().api
        for name, service in system.filled_services(env).items():
            if command := probe(service):
                Engine(client).execute(call("ps", "-q", name), command)
        return monotonic() - began
    finally:
        call("down", "-v", "-t", "0")


def main(folder: Path, repetitions: int) -> None:
    """Measure, and print one JSON object."""
    system = load(folder)
    rows: dict[str, Callable[[SystemFile], float]] = {
        "slowest single container": slowest,
        "engine API, side by side": plain,
        "lab": lab,
    }
    if shutil.which("docker-compose"):
        rows["docker-compose"] = compose
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(repetitions):
        for name, row in rows.items():
            seconds[name].append(row(system))
    base = median(seconds["engine API, side by side"])
    for name, each in seconds.items():
        told = f"{median(each):6.2f} s   {median(each) / base:5.2f}x   "
        sys.stdout.write(f"{name:26}{told}{' '.join(f'{s:.2f}' for s in each)}\n")
    medians = {name: round(median(each), 3) for name, each in seconds.items()}
    sys.stdout.write(json.dumps({"system": system.name, "seconds": medians}) + "\n")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0] if given else "compose/minimal"), int(given[1]) if len(given) > 1 else 5)
