"""The way to talk to a stack that another process stood up: its driver, and the site for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UsageError
from lab.stack.document import interpolate
from lab.stack.file import SystemFile, load, load_driver
from lab.stack.layout import Layout
from lab.stack.plan import EDGE, OBSERVER
from lab.stack.schema import pairs
from lab.system import DriverFactory, Endpoint, Site


@dataclass(frozen=True, slots=True)
class Visit:
    """A driver for a stack that stands, where its file is, and what it is built from."""

    build: DriverFactory
    path: Path
    site: Site


def visit(
    layout: Layout, ports: Mapping[int, int], environments: Mapping[str, Mapping[str, str]]
) -> Visit:
    """Find the way in again.

    ports: of the interposer, inside -> on this host; environments: of each service's container.
    Raises UsageError when the system's folder is gone, or its tenants need containers of their own.
    """
    system = load(Path(layout.folder)).in_mode(layout.mode)
    if system.per_tenant:
        raise UsageError(
            f"in mode {layout.mode} every tenant needs a container of its own",
            where=system.name,
            mend="`lab run` makes tenants here, `lab inject` does not",
        )
    entrances: dict[tuple[str, str], Endpoint] = {}
    observers: dict[str, Endpoint] = {}
    for proxy in (proxy for proxy in layout.proxies if proxy.network == EDGE):
        name, _, cohort = proxy.name.partition("@")
        at = Endpoint("127.0.0.1", ports[proxy.port])
        if name == OBSERVER:
            observers[cohort] = at
        else:
            entrances[name, cohort] = at
    variables = variables_of(system, environments)
    site = Site(entrances, observers, variables, layout.mode)
    return Visit(load_driver(system.driver), system.driver, site)


def variables_of(
    system: SystemFile, environments: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """The stack file's variables, from the containers that got one as a whole value."""
    found: dict[str, str] = {}
    for name, service in system.services.items():
        for key, text in pairs(service.environment).items():
            used: list[str] = []
            around = interpolate(text, lambda name, _: used.append(name) or "")  # noqa: B023
            if len(used) == 1 and not around and key in environments.get(name, {}):
                found[used[0]] = environments[name][key]
    return found
