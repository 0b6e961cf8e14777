"""The tables of the README, generated from the code, so that they cannot drift from it."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from lab import catalog, verifiers
from lab.errors import ExitCode, UsageError
from lab.stack import file as stackfile

_SLOT = re.compile(r"<!-- table: (?P<name>\w+) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)


def first_line(thing: object) -> str:
    """The first line of a docstring: what the thing is, in one sentence."""
    return (inspect.getdoc(thing) or "").split("\n", 1)[0]


def experiments() -> str:
    """NAME and claim of every experiment."""
    rows = [(f"`{e.name}`", e.summary) for e in catalog.experiments().values()]
    return markdown(("NAME", "in one sentence"), rows)


def faults() -> str:
    """Kind, parameters and meaning of every fault."""
    rows = [
        (f"`{kind}`", ", ".join(f"`{name}`" for name in _fields(fault)), first_line(fault))
        for kind, fault in catalog.faults().items()
    ]
    return markdown(("fault", "parameters", "what it does"), rows)


def _fields(kind: type) -> tuple[str, ...]:
    """The names of a dataclass's fields: a fault's parameters."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def all_verifiers() -> str:
    """Every verifier's function, and its first line."""
    rows: list[Sequence[str]] = []
    for info in pkgutil.iter_modules(verifiers.__path__):
        if info.name.startswith("_"):
            continue
        module = import_module(f"{verifiers.__name__}.{info.name}")
        rows += [
            (f"`{info.name}.{name}`", first_line(function))
            for name, function in inspect.getmembers(module, inspect.isfunction)
            if function.__module__ == module.__name__ and not name.startswith("_")
        ]
    return markdown(("verifier", "what it holds a run to"), rows)


def _all_defects() -> dict[str, stackfile.Defect]:
    """Every planted defect of the built-in systems."""
    folders = catalog.systems()
    return {name: each for f in folders for name, each in stackfile.load(f).defects.items()}


def defects() -> str:
    """How many planted defects each verifier is meant for, and some of their names."""
    known = _all_defects()
    rows = [
        (f"`{verifier}`", str(len(caught)), ", ".join(f"`{name}`" for name in caught[:3]))
        for verifier in sorted({defect.verifier for defect in known.values()})
        for caught in [[n for n, d in known.items() if d.verifier == verifier]]
    ]
    total = ("together", str(len(known)), "")
    return markdown(("meant for", "defects", "for example"), [*rows, total])


def defects_in_full() -> str:
    """Every planted defect, what is wrong, and when it takes hold."""
    rows = [
        (
            f"`{name}`",
            d.summary,
            f"`{d.verifier}`",
            d.requirement,
            d.severity,
            "yes" if d.at_start else "",
        )
        for name, d in _all_defects().items()
    ]
    head = ("defect", "what is wrong", "meant for", "requirement", "severity", "at start")
    return markdown(head, rows)


def exit_codes() -> str:
    """What each exit code means."""
    return markdown(("code", "meaning"), [(str(int(code)), code.meaning) for code in ExitCode])


TABLES = {
    "experiments": experiments,
    "faults": faults,
    "verifiers": all_verifiers,
    "defects": defects,
    "defects_in_full": defects_in_full,
    "exit_codes": exit_codes,
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def filled(text: str) -> str:
    """The document with every `<!-- table: NAME -->` slot filled anew. Raises UsageError."""

    def table(slot: re.Match[str]) -> str:
        name = slot["name"]
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}", mend=f"one of {', '.join(TABLES)}")
        return f"<!-- table: {name} -->\n{TABLES[name]()}<!-- end -->"

    return _SLOT.sub(table, text)


def refill(path: Path) -> bool:
    """Fill the tables of a file in place; whether anything changed."""
    before = path.read_text(encoding="utf-8")
    after = filled(before)
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before
