"""One fault, held by hand on a stack that is kept up: from words on a command line to its heal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from time import monotonic_ns
from typing import TYPE_CHECKING, cast, get_type_hints

import msgspec
from anyio import sleep

from lab import catalog
from lab.campaign import RUNS
from lab.errors import UsageError
from lab.fault import Fault, applied, name_of
from lab.journal import Journal
from lab.stack.attached import Attached, attached

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SECONDS_MAX = 3600.0
"""A fault held by hand for longer has been forgotten."""


def fault_from(kind: str, target: Mapping[str, str], pairs: Sequence[str]) -> Fault:
    """Build a fault from its kind, its target and `name=value` pairs; fields are the schema.

    target: `link` or `service` -> its name. Raises UsageError in one line for an unknown kind, an
    unknown or missing parameter, and a value of the wrong type or outside its range.
    """
    known = catalog.faults()
    if kind not in known:
        raise catalog.unknown("fault", kind, known)
    build = known[kind]
    fields = dataclasses.fields(cast("type[DataclassInstance]", build))
    if not {field.name for field in fields} & {"link", "service"}:
        raise UsageError("hits neither a link nor a service", where=kind, mend="`lab run` uses it")
    hints = get_type_hints(build)
    given = {**target, **dict(_pair(kind, pair) for pair in pairs)}
    names = {field.name: hints[field.name] for field in fields}
    values = {name: _value(kind, name, text, names) for name, text in given.items()}
    missing = [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise UsageError(f"needs {', '.join(missing)}", where=kind, mend=_option(missing[0]))
    return cast("Callable[..., Fault]", build)(**values)


async def hold(fault: Fault, run: str, seconds: float, say: Callable[[str], None]) -> None:
    """Hold `fault` on a kept stack, and heal it whatever ends the wait; all of it is journalled.

    seconds: above 0, at most an hour. The journal is `runs/<run>/journal.jsonl`, its times since
    the command's start. Raises UsageError for a stack, link or service that is not there.
    """
    if not 0 < seconds <= SECONDS_MAX:
        raise UsageError(f"{seconds:g} s cannot be", where="--for", mend=f"up to {SECONDS_MAX:g}")
    epoch_ns = monotonic_ns()
    async with attached(run) as stack:
        _there(fault, stack)
        with Journal(RUNS / stack.run) as journal:
            async with applied(fault, stack.lab, journal, epoch_ns=epoch_ns):
                say(f"{name_of(fault)}: in place on {stack.run} for {seconds:g} s")
                await sleep(seconds)
    say(f"{name_of(fault)}: healed")


def _pair(kind: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is no parameter", where=kind, mend="--set name=value")
    return name, value


def _value(kind: str, name: str, text: str, names: Mapping[str, object]) -> object:
    """A parameter's text as its field's type."""
    if name not in names:
        raise UsageError(f"{kind} has no {name!r}", mend=f"it has {', '.join(names)}")
    try:
        return msgspec.convert(text, names[name], strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{name}={text!r} does not fit: {error}", where=kind, mend="units are in the names"
        ) from error


def _option(name: str) -> str:
    return f"--{name} NAME" if name in ("link", "service") else f"--set {name}=VALUE"


def _there(fault: Fault, stack: Attached) -> None:
    """Refuse a target the stack does not have, before anything is done to it."""
    for what, known in (("link", stack.link_names), ("service", stack.service_names)):
        name: str | None = getattr(fault, what, None)
        if name is not None and name not in known:
            raise catalog.unknown(what, name, dict.fromkeys(known))
