"""Finds experiments and faults by module name: no registry file, and a door for other repositories.

Built-in ones live in the packages `experiments` and `faults` beside `lab`; another distribution
adds its own packages by the entry-point groups `lab.experiments` and `lab.faults`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import cast

from lab.errors import UsageError
from lab.experiment import Experiment, Factory, Setup
from lab.fault import Fault

SYSTEMS = Path("compose")
STACK_FILE = "stack.yaml"
SETTINGS = Path("pyproject.toml")


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment that can be run: its NAME, its claim in plain words, and how to build it."""

    name: str
    summary: str
    build: Callable[[Setup], Experiment]


def experiments() -> dict[str, Entry]:
    """Every experiment by NAME, in alphabetical order."""
    found: dict[str, Entry] = {}
    for module in _modules("experiments"):
        factory = getattr(module, "experiment", None)
        if callable(factory):
            name = module.__name__.rsplit(".", 1)[-1]
            found[name] = Entry(name, _summary(module), cast(Factory, factory))
    return dict(sorted(found.items()))


def experiment(name: str) -> Entry:
    """The experiment called `name`. Raises UsageError with the nearest names."""
    known = experiments()
    if name in known:
        return known[name]
    raise unknown("experiment", name, known)


def faults() -> dict[str, type[Fault]]:
    """Every fault class by kind, in alphabetical order."""
    found: dict[str, type[Fault]] = {}
    for module in _modules("faults"):
        for _, thing in inspect.getmembers(module, inspect.isclass):
            if thing.__module__ == module.__name__ and hasattr(thing, "kind"):
                fault = cast(type[Fault], thing)
                found[fault.kind] = fault
    return dict(sorted(found.items()))


def systems() -> tuple[Path, ...]:
    """The folders of all built-in systems under test, in alphabetical order."""
    return tuple(sorted(path.parent for path in SYSTEMS.glob(f"*/{STACK_FILE}")))


def system_folder(text: str = "") -> Path:
    """The folder of a system, by path or by the name of a built-in one.

    Without any, it is `system` under `[tool.crosstalk]` in the pyproject.toml at hand. Raises
    UsageError with the nearest names.
    """
    if not text:
        text = _default_system()
    for folder in (Path(text), SYSTEMS / text):
        if (folder / STACK_FILE).is_file():
            return folder
    raise unknown("system", text, {str(path): path for path in systems()})


def _default_system() -> str:
    """The person's own choice, from the settings file."""
    try:
        settings = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))
        return str(settings["tool"]["crosstalk"]["system"])
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"no system is named: {error}",
            where=str(SETTINGS),
            mend='give --system FOLDER, or set system = "FOLDER" under [tool.crosstalk]',
        ) from error


def unknown(what: str, name: str, known: Mapping[str, object]) -> UsageError:
    """The error for a name that does not exist: it names the nearest ones, or all."""
    near = get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
    return UsageError(f"there is no {what} {name!r}", mend=f"did you mean {', '.join(near)}?")


def _modules(package: str) -> Iterator[ModuleType]:
    """All modules of a built-in package and of the packages other distributions add to it."""
    names = [package, *(entry.value for entry in entry_points(group=f"lab.{package}"))]
    for name in names:
        root = importlib.import_module(name)
        yield root
        for info in pkgutil.iter_modules(root.__path__, prefix=f"{name}."):
            yield importlib.import_module(info.name)


def _summary(module: ModuleType) -> str:
    """The first line of the module's docstring."""
    return (inspect.getdoc(module) or "").split("\n", 1)[0]
