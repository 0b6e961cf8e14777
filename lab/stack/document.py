"""YAML with line numbers, and the compose specification's `${VAR}` interpolation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, cast

import yaml

from lab.errors import UsageError

T = TypeVar("T")
Keys = tuple[str, ...]
"""Where something stands in the document: ("services", "redis", "image")."""

_REFERENCE = re.compile(
    r"\$(?:(?P<escaped>\$)"
    r"|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|(?P<broken>))"
)


@dataclass(frozen=True)
class Document:
    """A parsed YAML file that still knows on which line everything stood."""

    path: Path
    data: Mapping[str, object]
    lines: Mapping[Keys, int]

    def where(self, keys: Keys) -> str:
        """`file:line` of the innermost part of `keys` that exists."""
        known = next((keys[:n] for n in range(len(keys), -1, -1) if keys[:n] in self.lines), ())
        return f"{self.path}:{self.lines.get(known, 1)}"

    def error(self, keys: Keys, what: str, mend: str = "") -> UsageError:
        """The error to raise about the value at `keys`."""
        return UsageError(f"`{'.'.join(keys)}` {what}", where=self.where(keys), mend=mend)


def patched(document: Document, keys: Keys) -> Document:
    """The document with the merge patch (RFC 7386) that stands at `keys` of it applied to it.

    Mappings are merged key by key, null takes a key away, anything else replaces what was there.
    """
    patch = document.data
    for key in keys:
        patch = cast("Mapping[str, object]", patch[key])
    data = _merged(document.data, patch)
    assert isinstance(data, dict)
    moved = {at[len(keys) :]: n for at, n in document.lines.items() if at[: len(keys)] == keys}
    return Document(document.path, cast("dict[str, object]", data), {**document.lines, **moved})


def _merged(value: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    merged = dict(cast("dict[str, object]", value)) if isinstance(value, dict) else {}
    for key, change in cast("dict[str, object]", patch).items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), change)
    return merged


def read(path: Path) -> Document:
    """Parse `path`. Raises UsageError with file and line for anything but a YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            mend="a system is a folder with a stack.yaml",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8 text", where=str(path)) from error
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Keys, int] = {}
        if node is not None:
            _note_lines(node, (), lines, path)
        data: object = None
        if node is not None:
            data = loader.construct_document(node)  # pyright: ignore[reportUnknownMemberType]
    except yaml.YAMLError as error:
        raise _unreadable(path, error) from error
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise UsageError("must be a mapping with `services` and `x-lab`", where=f"{path}:1")
    return Document(path, cast(Mapping[str, object], data), lines)


def _unreadable(path: Path, error: yaml.YAMLError) -> UsageError:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line = error.problem_mark.line + 1
        return UsageError(f"is not YAML: {error.problem}", where=f"{path}:{line}")
    return UsageError(f"is not YAML: {error}", where=str(path))


def _note_lines(node: yaml.Node, keys: Keys, lines: dict[Keys, int], path: Path) -> None:
    """Remember the line of every key and item; a key given twice would silently lose the first."""
    lines.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen and name != "<<":
                raise UsageError(f"`{name}` is given twice", where=f"{path}:{line}")
            seen.add(name)
            lines[(*keys, name)] = line
            _note_lines(value, (*keys, name), lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*keys, str(index))] = item.start_mark.line + 1
            _note_lines(item, (*keys, str(index)), lines, path)


def interpolate(text: str, lookup: Callable[[str, str | None], str]) -> str:
    """Replace `$VAR`, `${VAR}` and `${VAR:-default}`; `$$` is a dollar sign.

    lookup gets the name and the default (None without one). Raises ValueError for a lone `$`.
    Compose specification, section "Interpolation".
    """

    def replaced(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["broken"] is not None:
            raise ValueError("has a lone `$`")
        return lookup(match["plain"] or match["braced"], match["default"])

    return _REFERENCE.sub(replaced, text)


def filled(value: object, lookup: Callable[[str, str | None], str]) -> object:
    """The same value with every string in it interpolated; keys of mappings stay as they are."""
    if isinstance(value, str):
        return interpolate(value, lookup)
    if isinstance(value, list | tuple):
        return [filled(item, lookup) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {key: filled(item, lookup) for key, item in items}
    return value


def nearest(word: str, known: Mapping[str, object] | frozenset[str] | tuple[str, ...]) -> str:
    """Advice naming the known word nearest to `word`, or all of them when they are few."""
    close = get_close_matches(word, list(known), n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known: {', '.join(known)}" if 0 < len(known) <= 12 else ""
