"""A system's folder as a value: `stack.yaml` read, checked and named, before any container starts.

Everything wrong in the file is told with file, line, key and the nearest known word. The documented
subset is `docs/stack-file.md`; the words are those of the Compose specification (compose-spec.io).
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import msgspec

from lab.errors import UsageError
from lab.stack.document import Document, Keys, filled, nearest, patched, read
from lab.stack.parts import (
    NAME,
    check_services,
    check_variables,
    existing,
    fitted,
    known_name,
    mapping,
    only,
    per_tenant,
    services_of,
)
from lab.stack.schema import AgentsBlock, LabBlock, Service, StoresBlock, StubBlock
from lab.stack.stores import check_stores
from lab.system import Ability, DriverFactory, View

FILE_NAME = "stack.yaml"
CONTROL_PORT = 8474
"""Toxiproxy's own API; it listens on every address, so no link can have this port."""

TOP = ("services", "volumes", "x-lab")
_STORES = frozenset({"postgres", "redis"})

Agents = AgentsBlock


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect that can be planted: what it breaks, and the verifier that has to catch it.

    at_start: it takes hold only when the services start, not when it is switched on at run time.
    """

    summary: str
    requirement: str
    verifier: str
    severity: str
    at_start: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a service, as in `redis:6379`."""

    service: str
    port: int


@dataclass(frozen=True, slots=True)
class Link:
    """An edge the lab stands in: the services that use it, where it leads, and what flows there."""

    consumers: tuple[str, ...]
    to: Target
    kind: str


@dataclass(frozen=True, slots=True)
class Entrance:
    """A way in from this host; `per_cohort` gives each cohort a proxy of its own."""

    to: Target
    per_cohort: bool


@dataclass(frozen=True)
class SystemFile:
    """A checked system. `services` still hold their `${VAR}`; `filled_services` fills them in."""

    name: str
    folder: Path
    services: Mapping[str, Service]
    volumes: tuple[str, ...]
    links: Mapping[str, Link]
    entrances: Mapping[str, Entrance]
    observers: Mapping[str, Target]
    variables: tuple[str, ...]
    abilities: frozenset[Ability]
    agents: Agents | None
    disks: Mapping[str, str]
    clocks: tuple[str, ...]
    stores: StoresBlock
    stubs: Mapping[str, StubBlock]
    modes: tuple[str, ...]
    per_tenant: str
    defects: Mapping[str, Defect]
    driver: Path
    variants: Mapping[str, SystemFile] = field(default_factory=dict[str, "SystemFile"])

    def view(self, actions: frozenset[str]) -> View:
        """What an experiment may know of this system, given the driver's actions."""
        kinds = {name: link.kind for name, link in self.links.items()}
        return View(self.name, kinds, self.abilities, actions)

    def images(self) -> tuple[tuple[str, Path | None], ...]:
        """Every image needed, once, with the folder it is built from (None: it is not)."""
        found: dict[str, Path | None] = {}
        for service in self.services.values():
            build = service.build
            context = build if isinstance(build, str) else build.context if build else None
            folder = None if context is None else (self.folder / context).resolve()
            found[service.image] = found.get(service.image) or folder
        return tuple(found.items())

    def filled_services(self, variables: Mapping[str, str]) -> dict[str, Service]:
        """The services with every `${VAR}` replaced by its value in `variables`."""

        def lookup(name: str, default: str | None) -> str:
            return variables.get(name) or default or ""

        raw = {name: msgspec.to_builtins(service) for name, service in self.services.items()}
        return {n: msgspec.convert(filled(r, lookup), Service) for n, r in raw.items()}

    def chosen_mode(self, mode: str) -> str:
        """`mode`, or the first when none is asked for. Raises UsageError for an unknown one."""
        if mode and mode not in self.modes:
            known = nearest(mode, self.modes) or "this system has no modes"
            raise UsageError(f"no mode `{mode}`", where=self.name, mend=known)
        return mode or next(iter(self.modes), "")

    def in_mode(self, mode: str) -> SystemFile:
        """The system as it is in a mode: its variant, where there is one. Raises UsageError."""
        return self.variants.get(self.chosen_mode(mode), self)

    def chosen_defects(self, defects: Sequence[str]) -> str:
        """The comma list for `LAB_DEFECTS`. Raises UsageError for an unknown defect."""
        for defect in defects:
            if defect not in self.defects:
                known = nearest(defect, self.defects) or "this system has no planted defects"
                raise UsageError(f"no defect `{defect}`", where=self.name, mend=known)
        return ",".join(defects)


def load(folder: Path) -> SystemFile:
    """Read and check `<folder>/stack.yaml`, with all its variants.

    Raises UsageError naming file, line and key.
    """
    folder = folder.resolve()
    document = read(folder / FILE_NAME)
    system = _system(document, folder)
    variants: dict[str, SystemFile] = {}
    for mode in mapping(document, ("x-lab", "variants")):
        keys = ("x-lab", "variants", mode)
        known_name(document, keys, mode, system.modes, "mode")
        only(document, keys, mapping(document, keys), TOP)
        variants[mode] = _system(patched(document, keys), folder)
    return replace(system, variants=variants)


def _system(document: Document, folder: Path) -> SystemFile:
    """The system that a document describes."""
    only(document, (), document.data, TOP)
    services = services_of(document)
    volumes = tuple(str(name) for name in mapping(document, ("volumes",)))
    block = fitted(LabBlock, document, ("x-lab",), mapping(document, ("x-lab",)))
    check_services(document, folder, services, volumes)
    check_variables(document, block)
    check_stores(document, block, services)
    links, entrances, observers = _edges(document, block, services)
    return SystemFile(
        name=folder.name,
        folder=folder,
        services=services,
        volumes=volumes,
        links=links,
        entrances=entrances,
        observers=observers,
        variables=block.variables,
        abilities=_abilities(document, block, services),
        agents=block.agents,
        disks=_disks(document, block, services),
        clocks=_clocks(document, block, services),
        stores=block.stores,
        stubs=block.stubs,
        modes=block.modes,
        per_tenant=per_tenant(document, block, services),
        defects=_defects(document, folder, block.defects),
        driver=existing(document, ("x-lab", "driver"), folder / block.driver),
    )


def load_driver(path: Path) -> DriverFactory:
    """The `driver` that the file at `path` defines; loaded by path, under a name of its own."""
    name = f"crosstalk_driver_{path.parent.name.replace('-', '_')}_{abs(hash(path)):x}"
    inside = [str(path.parent)] if path.name == "__init__.py" else None  # a package's own modules
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError("is not a Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        what = f"cannot be loaded: {type(error).__name__}: {error}"
        raise UsageError(what, where=str(path)) from error
    factory: object = getattr(module, "driver", None)
    if not callable(factory):
        raise UsageError(
            "defines no `driver`", where=str(path), mend="define `def driver(site: Site) -> Driver`"
        )
    return cast(DriverFactory, factory)


def _edges(
    document: Document, block: LabBlock, services: Mapping[str, Service]
) -> tuple[dict[str, Link], dict[str, Entrance], dict[str, Target]]:
    """Links, entrances and observers, with every service known and no port in two roles."""

    def target(keys: Keys, text: str) -> Target:
        service, _, port = text.partition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise document.error(keys, f"must be `service:port`, not `{text}`")
        known_name(document, keys, service, services, "service")
        return Target(service, int(port))

    links = {
        name: Link(link.consumers, target(("x-lab", "links", name, "to"), link.to), link.kind)
        for name, link in block.links.items()
    }
    _check_links(document, links, services)
    entrances = {
        name: Entrance(target(("x-lab", "entrances", name, "to"), e.to), e.per_cohort)
        for name, e in block.entrances.items()
    }
    for name in entrances:
        if name in links:
            raise document.error(("x-lab", "entrances", name), "is also the name of a link")
    for kind, names in (("links", links), ("entrances", entrances), ("observers", block.observers)):
        for name in names:
            if not NAME.fullmatch(name):
                raise document.error(("x-lab", kind, name), "must be lower case, digits, dashes")
    observers = {n: target(("x-lab", "observers", n), to) for n, to in block.observers.items()}
    return links, entrances, observers


def _check_links(
    document: Document, links: Mapping[str, Link], services: Mapping[str, Service]
) -> None:
    """A consumer sees one proxy address, so a port can lead to one place only."""
    taken: dict[tuple[str, int], str] = {}
    for name, link in links.items():
        keys = ("x-lab", "links", name)
        if link.to.port == CONTROL_PORT:
            raise document.error(
                (*keys, "to"), f"has port {CONTROL_PORT}, which is the proxy's own"
            )
        for consumer in link.consumers:
            known_name(document, (*keys, "from"), consumer, services, "service")
            other = taken.setdefault((consumer, link.to.port), name)
            if other != name:
                what = f"and `{other}` both give `{consumer}` port {link.to.port}"
                raise document.error((*keys, "to"), what, "let one service listen elsewhere")


def _disks(document: Document, block: LabBlock, services: Mapping[str, Service]) -> dict[str, str]:
    """Service -> the folder in it that can be put on a disk that loses power."""
    for name, path in block.disks.items():
        known_name(document, ("x-lab", "disks", name), name, services, "service")
        if not path.startswith("/"):
            raise document.error(("x-lab", "disks", name), f"must be a folder, not `{path}`")
    return block.disks


def _clocks(
    document: Document, block: LabBlock, services: Mapping[str, Service]
) -> tuple[str, ...]:
    """The services whose time of day can be set."""
    for index, name in enumerate(block.clocks):
        known_name(document, ("x-lab", "clocks", str(index)), name, services, "service")
    return block.clocks


def _abilities(
    document: Document, block: LabBlock, services: Mapping[str, Service]
) -> frozenset[Ability]:
    found = {Ability(name) for name in block.abilities}
    if (Ability.AGENTS in found) != (block.agents is not None):
        raise document.error(("x-lab", "agents"), "and the ability `agents` need each other")
    if block.agents is not None:
        for service in block.agents.services:
            known_name(document, ("x-lab", "agents", "service"), service, services, "service")
        if "{tenant}" not in block.agents.argv:
            raise document.error(("x-lab", "agents", "argv"), "must contain `{tenant}`")
    if any(link.kind in _STORES for link in block.links.values()):
        found.add(Ability.STORES)
    return frozenset(found)


def _defects(document: Document, folder: Path, name: str) -> dict[str, Defect]:
    if not name:
        return {}
    path = existing(document, ("x-lab", "defects"), folder / name)
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), dict[str, Defect])
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"is not a table of defects: {error}", where=str(path)) from error
