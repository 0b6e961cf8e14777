"""One fault, held by hand on a stack that is kept up: from words on a command line to its heal."""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, cast, get_type_hints

import msgspec
from anyio import sleep, to_thread

from lab import catalog
from lab.errors import UsageError
from lab.fault import ByClients, Fault, applied, name_of
from lab.hands import Lab
from lab.hands.real.guests import guest
from lab.healing.lease import Lease
from lab.healing.mending import heal_faults
from lab.healing.proof import prove
from lab.journal import Journal
from lab.nemesis.guard import GRACE_SECONDS, Limits, TrippedError, guarding
from lab.nemesis.parameters import TARGETS
from lab.stack.attached import Attached, attached
from lab.system import TenantPlan

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SECONDS_MAX = 3600.0
"""A fault held by hand for longer has been forgotten."""

TTL_SECONDS = 10.0
"""A command that is frozen for longer loses its fault."""

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str, option: str = "--for") -> float:
    """`30s`, `2m`, `500ms`, `1h` or plain seconds; above 0, at most an hour. Raises UsageError."""
    match = _DURATION.fullmatch(text)
    seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else 0.0
    if not 0 < seconds <= SECONDS_MAX:
        raise UsageError(
            f"{text!r} cannot be", where=option, mend="as in 500ms, 30s or 2m; an hour at most"
        )
    return seconds


def pairs_of(kind: str, words: Sequence[str]) -> tuple[str, ...]:
    """`--delay-ms 200` and `--delay-ms=200` as `delay_ms=200`, the form that `--set` has."""
    pairs: list[str] = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if not option.startswith("--"):
            raise UsageError(f"{word!r} is no option", where=kind, mend="as in --delay-ms 200")
        value = value if equals else next(rest, None)
        if value is None:
            raise UsageError(f"{option} needs a value", where=kind)
        pairs.append(f"{option[2:].replace('-', '_')}={value}")
    return tuple(pairs)


def fault_from(kind: str, target: Mapping[str, str], pairs: Sequence[str]) -> Fault:
    """Build a fault from its kind, its target and `name=value` pairs; fields are the schema.

    target: `link`, `service` or `tenant` -> its name. Raises UsageError in one line for an unknown
    kind, an unknown or missing parameter, and a value of the wrong type or outside its range.
    """
    known = catalog.faults()
    if kind not in known:
        raise catalog.unknown("fault", kind, known)
    build = known[kind]
    fields = dataclasses.fields(cast("type[DataclassInstance]", build))
    hints = get_type_hints(build)
    given = {**target, **dict(_pair(kind, pair) for pair in pairs)}
    names = {field.name: hints[field.name] for field in fields}
    values = {name: _value(kind, name, text, names) for name, text in given.items()}
    missing = [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise UsageError(f"needs {', '.join(missing)}", where=kind, mend=_option(missing[0]))
    return cast("Callable[..., Fault]", build)(**values)


async def hold(
    fault: Fault,
    run: str,
    seconds: float,
    say: Callable[[str], None],
    ttl_seconds: float = TTL_SECONDS,
) -> None:
    """Hold `fault` on a kept stack, and heal it whatever ends the wait; all of it is journalled.

    A healer heals the fault, and leaves the stack, when this process is killed or frozen for
    `ttl_seconds`. What an earlier one left is healed first. The journal is in the stack's own
    folder, its times since the machine's start. Raises UsageError for a stack, link or service that
    is not there, LabError when somebody else is breaking this stack.
    """
    name, limits = name_of(fault), Limits(fault_seconds_max=seconds + GRACE_SECONDS)
    await to_thread.run_sync(prove, say)
    async with attached(run) as stack:
        _there(fault, stack)
        async with Lease(stack.run, stack.folder, ttl_seconds, scope="faults"):
            for done in await heal_faults(stack.run, stack.folder):
                say(f"{done}: left by an earlier command, healed")
            with Journal(stack.folder) as journal:
                async with (
                    _able(fault, stack, journal, say) as lab,
                    guarding(limits, {name: monotonic()}) as lever,
                    applied(fault, lab, journal, epoch_ns=0),
                ):
                    say(f"{name}: in place on {stack.run} for {seconds:g} s")
                    await sleep(seconds)
    if lever.why:
        raise TrippedError(lever.why, where=name, mend="it was healed")
    say(f"{name}: healed")


@asynccontextmanager
async def _able(
    fault: Fault, stack: Attached, journal: Journal, say: Callable[[str], None]
) -> AsyncGenerator[Lab]:
    """The stack's hands; for a fault by clients also a tenant to do it, made here and removed."""
    if not isinstance(fault, ByClients):
        yield stack.lab
        return
    way = await stack.visit()
    cohort = next((cohort for _, cohort in way.site.entrances if cohort), "")
    plan = TenantPlan({fault.tenant: cohort}, prefix=f"g{secrets.token_hex(3)}", seed=0)
    async with guest(way.build, way.path, way.site, plan, journal) as clients:
        say(f"{fault.tenant}: a tenant made for this, and removed after it")
        yield replace(stack.lab, clients=clients)


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
    return f"--{name.replace('_', '-')} {'NAME' if name in TARGETS else 'VALUE'}"


def _there(fault: Fault, stack: Attached) -> None:
    """Refuse a target the stack does not have, before anything is done to it."""
    for what, known in (("link", stack.link_names), ("service", stack.service_names)):
        name: str | None = getattr(fault, what, None)
        if name and name not in known:
            raise catalog.unknown(what, name, dict.fromkeys(known))
