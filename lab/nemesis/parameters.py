"""What a fault may be given: its fields, read together with the very checks that refuse a value.

A range that is told is the one that is enforced: it is taken from the calls of `within` and
`one_of` in `__post_init__`, so there is no second place where it could be told differently.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args, get_origin, get_type_hints

from lab.fault import TARGETS, Fault

_UNITS = {
    "ms": "milliseconds",
    "us": "microseconds",
    "seconds": "seconds",
    "bytes": "bytes",
    "mb": "MiB",
    "kbps": "kilobytes a second",
    "mbps": "MiB a second",
    "percent": "percent",
    "cores": "CPU cores",
    "iops": "operations a second",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of a fault. `values`: its range or its words; `default` is empty when it must be.

    unit: from the end of its name, in words; empty for one that has none.
    """

    name: str
    type: str
    unit: str
    values: str
    default: str

    def __str__(self) -> str:
        kind = "NAME" if self.name in TARGETS else self.type
        told = " ".join(part for part in (self.values or kind, self.unit) if part)
        return f"--{self.name.replace('_', '-')} {told}" + (
            f" (default {self.default})" if self.default else ""
        )


def parameters(fault: type[Fault]) -> tuple[Parameter, ...]:
    """The parameters of a fault's class, in the order of its fields."""
    if not dataclasses.is_dataclass(fault):
        return ()
    hints, checked = get_type_hints(fault), dict(_checked(fault))
    return tuple(
        Parameter(
            name=field.name,
            type=_type(hints[field.name]),
            unit=_UNITS.get(field.name.rpartition("_")[2], ""),
            values=_words(hints[field.name]) or checked.get(field.name, ""),
            default="" if field.default is dataclasses.MISSING else str(field.default),
        )
        for field in dataclasses.fields(fault)
    )


def _type(hint: object) -> str:
    return getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else "word"


def _words(hint: object) -> str:
    return ", ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else ""


def _checked(fault: type) -> Iterator[tuple[str, str]]:
    """Field -> its range or words, from the checks of the class and of those it builds on."""
    for owner in fault.__mro__:
        check = owner.__dict__.get("__post_init__")
        if check is None:
            continue
        names = dict(vars(inspect.getmodule(owner)))
        tree = ast.parse(textwrap.dedent(inspect.getsource(check)))
        for line in ast.walk(tree):
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                names[line.targets[0].id] = _told(line.value, names)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                told = [_told(argument, names) for argument in call.args]
                if call.func.id == "within" and len(told) == 5:
                    yield told[1], f"{told[3]} to {told[4]}"
                elif call.func.id == "one_of" and len(told) == 4:
                    yield told[1], told[3]


def _told(argument: ast.expr, names: dict[str, object]) -> str:
    """An argument as a person reads it: a constant's value, or an expression of other fields.

    What is evaluated is the source of a fault that runs in this very process.
    """
    text = ast.unparse(argument)
    if "self." in text:
        return text.replace("self.", "")
    value: object = eval(text, names)
    if isinstance(value, tuple):
        return ", ".join(map(str, cast("tuple[object, ...]", value)))
    return str(value)
