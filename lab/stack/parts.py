"""The parts of a stack file, fitted into their types and checked, each complaint with its line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from lab.errors import UsageError
from lab.stack.document import Document, Keys, filled, nearest
from lab.stack.schema import NESTED_KEYS, REFUSED, LabBlock, Service, size

LAB_VARIABLES = (
    "LAB_RUN", "LAB_MODE", "LAB_DEFECTS", "LAB_TOKEN",
    "LAB_TENANT_KEY", "LAB_TENANT", "LAB_TENANT_SECRET",
)  # fmt: skip
"""Always defined for interpolation, whatever the file declares; the last two are a tenant's own."""

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_RESERVED = frozenset({"toxiproxy", "origin", "edge"})

T = TypeVar("T", bound=msgspec.Struct)


def mapping(document: Document, keys: Keys) -> dict[str, object]:
    """The mapping at `keys`; one that is absent or empty is an empty mapping."""
    found: object = document.data
    for key in keys:
        found = cast("dict[str, object]", found).get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise document.error(keys, "must be a mapping")
    return {str(key): value for key, value in cast("dict[object, object]", found).items()}


def only(document: Document, keys: Keys, given: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse keys that are not known; `x-...` is anybody's, as in any compose file."""
    for key in given:
        if key not in known and not str(key).startswith("x-"):
            advice = REFUSED.get(str(key)) or nearest(str(key), known)
            raise document.error((*keys, str(key)), "is not supported here", advice)


def fitted(kind: type[T], document: Document, keys: Keys, raw: Mapping[str, object]) -> T:
    """`raw` as a `kind`; tells the innermost key that does not fit, and its line."""
    known = tuple(field.encode_name for field in msgspec.structs.fields(kind))
    only(document, keys, raw, known)
    plain = {key: value for key, value in raw.items() if not key.startswith("x-")}
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise _misfit(document, keys, _blamed(kind, plain, path), problem) from error


def _blamed(kind: type[msgspec.Struct], plain: Mapping[str, object], path: str) -> Keys:
    """The keys on msgspec's path; where it says `[...]`, the entry that does not fit by itself."""
    keys = tuple(re.findall(r"[\w-]+", path))
    entries = plain.get(keys[0]) if keys else None
    if not path.startswith(f".{keys[0] if keys else ''}[...]") or not isinstance(entries, dict):
        return keys
    for name, entry in cast("dict[str, object]", entries).items():
        try:
            msgspec.convert({keys[0]: {name: entry}}, kind)
        except msgspec.ValidationError:
            return (keys[0], str(name), *keys[1:])
    return keys


def _misfit(document: Document, keys: Keys, inner: Keys, problem: str) -> UsageError:
    """An unknown key by its name and the nearest known one; anything else in msgspec's words."""
    unknown = re.search(r"unknown field `([^`]+)`", problem)
    if unknown is None:
        return document.error((*keys, *inner), f"does not fit: {problem}")
    advice = nearest(unknown[1], NESTED_KEYS)
    return document.error((*keys, *inner, unknown[1]), "is not supported here", advice)


def services_of(document: Document) -> dict[str, Service]:
    """Every service, fitted; one that is built without a tag gets one."""
    raw = mapping(document, ("services",))
    if not raw:
        raise document.error(("services",), "names no service", "a stack has at least one")
    found: dict[str, Service] = {}
    for name in raw:
        keys = ("services", name)
        if not NAME.fullmatch(name) or name in _RESERVED:
            raise document.error(keys, "is not a usable name", "lower case, digits and dashes")
        service = fitted(Service, document, keys, mapping(document, keys))
        if not service.image and service.build is None:
            raise document.error(keys, "has neither `image` nor `build`")
        tag = service.image or f"crosstalk/{document.path.parent.name}-{name}"
        found[name] = msgspec.structs.replace(service, image=tag)
    return found


def check_services(
    document: Document, folder: Path, services: Mapping[str, Service], volumes: tuple[str, ...]
) -> None:
    """Everything one service says about others, about this host\'s files, and about sizes."""
    for name, service in services.items():
        keys = ("services", name)
        for needed in service.conditions:
            known_name(document, (*keys, "depends_on"), needed, services, "service")
        for index, volume in enumerate(service.volumes):
            _check_volume(document, (*keys, "volumes", str(index)), folder, volume, volumes)
        if isinstance(service.build, str) or service.build is not None:
            context = service.build if isinstance(service.build, str) else service.build.context
            existing(document, (*keys, "build"), folder / context)
        for key, text in (("mem_limit", service.mem_limit), ("shm_size", service.shm_size)):
            _check_size(document, (*keys, key), text)
    try:
        TopologicalSorter({n: s.conditions for n, s in services.items()}).prepare()
    except CycleError as error:
        circle = cast("list[str]", error.args[1])
        told = " -> ".join(reversed(circle))
        raise document.error(
            ("services", circle[0], "depends_on"), f"is a circle: {told}"
        ) from error


def _check_size(document: Document, keys: Keys, text: str | int) -> None:
    try:
        size(text)
    except ValueError as error:
        raise document.error(keys, str(error)) from error


def _check_volume(
    document: Document, keys: Keys, folder: Path, volume: str, volumes: tuple[str, ...]
) -> None:
    """A bind must lie inside the system's folder: nothing else here is the lab's to lend."""
    source, _, rest = volume.partition(":")
    if not rest.startswith("/"):
        raise document.error(keys, f"must be `source:/path[:ro]`, not `{volume}`")
    if source.startswith("."):
        bound = existing(document, keys, folder / source)
        if not bound.is_relative_to(folder):
            raise document.error(keys, f"binds `{source}`, which is outside the system's folder")
    elif "/" in source:
        raise document.error(keys, f"binds `{source}`", "only `./...` of the system's folder")
    else:
        known_name(document, keys, source, volumes, "volume")


def check_variables(document: Document, block: LabBlock) -> None:
    """Every `${VAR}` in the services is declared, the lab\'s own, or has a default."""
    for index, name in enumerate(block.variables):
        if not _VARIABLE.fullmatch(name) or name.startswith("LAB_"):
            keys = ("x-lab", "variables", str(index))
            raise document.error(keys, f"`{name}` is not usable", "upper case, not `LAB_...`")
    known = (*block.variables, *LAB_VARIABLES)

    def check(value: object, keys: Keys) -> None:
        if isinstance(value, str):
            _interpolated(document, keys, value, known)
        elif isinstance(value, dict):
            for key, item in cast("dict[object, object]", value).items():
                check(item, (*keys, str(key)))
        elif isinstance(value, list):
            for index, item in enumerate(cast("list[object]", value)):
                check(item, (*keys, str(index)))

    check(document.data.get("services"), ("services",))


def _interpolated(document: Document, keys: Keys, text: str, known: tuple[str, ...]) -> None:
    def lookup(name: str, default: str | None) -> str:
        if name not in known and default is None:
            raise ValueError(f"uses the unknown variable `{name}`")
        return default or ""

    try:
        filled(text, lookup)
    except ValueError as error:
        raise document.error(
            keys, str(error), f"known: {', '.join(known)}; `$$` is a dollar sign"
        ) from error


def existing(document: Document, keys: Keys, path: Path) -> Path:
    """The path itself; one that does not exist is refused."""
    if not path.exists():
        raise document.error(keys, f"names `{path.name}`, which does not exist in {path.parent}")
    return path.resolve()


def known_name(
    document: Document,
    keys: Keys,
    name: str,
    known: Mapping[str, object] | tuple[str, ...],
    kind: str,
) -> None:
    """Refuse a name that is not among the known ones, with the nearest."""
    if name not in known:
        raise document.error(keys, f"names the unknown {kind} `{name}`", nearest(name, known))


def per_tenant(document: Document, block: LabBlock, services: Mapping[str, Service]) -> str:
    """The service that is started once for every tenant; so nothing can lead to it."""
    name, keys = block.per_tenant, ("x-lab", "per_tenant")
    if not name:
        return ""
    known_name(document, keys, name, services, "service")
    ways = [link.to for link in block.links.values()]
    ways += [*(e.to for e in block.entrances.values()), *block.observers.values()]
    needed = [other for service in services.values() for other in service.conditions]
    if name in (*(way.partition(":")[0] for way in ways), *needed):
        raise document.error(keys, f"is `{name}`, which others need while no tenant is there")
    return name
