"""What every fault must do, on fakes and on the real thing alike.

A fault's author calls `check_fault` with the fault and a lab to break; it raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from anyio import CancelScope
from anyio.lowlevel import checkpoint

from lab import catalog
from lab.fault import Fault, applied, covers_open, settings
from lab.hands import Lab
from lab.journal import Healed, Injected, Injecting, Journal, read

FELT_SECONDS = 0.03
"""An exchange does not take this much longer by itself."""

STEPS_MAX = 20
"""No fault takes more calls than this to inject."""


@dataclass(frozen=True)
class Look:
    """What can be read back. `state` a heal restores; `births` only grow: when processes began."""

    state: Mapping[str, object]
    births: Mapping[str, object]


@dataclass(frozen=True)
class Subject:
    """A lab to break, and a way to read its state back that does not go through the fault.

    fresh: the same stack in hands that were made anew, as another process has them.
    """

    lab: Lab
    look: Callable[[], Awaitable[Look]]
    fresh: Lab | None = None


LabFactory = Callable[[], AbstractAsyncContextManager[Subject]]


async def check_fault(make: Callable[[], Fault], lab_factory: LabFactory) -> None:
    """Hold a fault to its contract; every check gets a lab from the factory, in a calm state."""
    assert make() == make(), "a fault is a value: two with the same fields are equal"
    for check in (_bites_and_heals, _heals_twice_and_unasked, _survives_the_journal):
        async with lab_factory() as subject:
            await check(make(), subject)
    for step in range(STEPS_MAX):
        async with lab_factory() as subject:
            if not await _heals_when_cancelled(make(), subject, step):
                break
    else:
        raise AssertionError(f"not injected after {STEPS_MAX} calls")


async def check_open_connections(
    fault: Fault, lab: Lab, exchange: Callable[[], Awaitable[float]]
) -> None:
    """A connection that was open before feels the fault, or the fault says that it does not.

    exchange: talks over such a connection and tells how many seconds that took, infinitely many
    when it was not answered.
    """
    calm = max([await exchange() for _ in range(3)])
    await fault.inject(lab)
    try:
        seconds = [await exchange() for _ in range(3)]
    finally:
        await fault.heal(lab)
    felt = min(seconds) > calm + FELT_SECONDS or max(seconds) == inf
    told = f"an open connection took {calm:.3f} s, then {seconds}"
    assert felt is covers_open(fault), f"{told}; the fault says covered: {covers_open(fault)}"


async def _bites_and_heals(fault: Fault, subject: Subject) -> None:
    before = await subject.look()
    await fault.inject(subject.lab)
    assert await subject.look() != before, "injected, and nothing reads differently"
    await fault.heal(subject.lab)
    assert (await subject.look()).state == before.state, "healed, and something is left"


async def _heals_twice_and_unasked(fault: Fault, subject: Subject) -> None:
    before = await subject.look()
    await fault.heal(subject.lab)
    assert await subject.look() == before, "a heal without an injection changed something"
    await fault.inject(subject.lab)
    await fault.heal(subject.lab)
    once = await subject.look()
    await fault.heal(subject.lab)
    assert await subject.look() == once, "the second heal changed something"
    assert once.state == before.state, "healed, and something is left"


async def _survives_the_journal(fault: Fault, subject: Subject) -> None:
    """What heals is what another process would rebuild from the undo record on disk."""
    before = await subject.look()
    with TemporaryDirectory() as place:
        folder = Path(place)
        with Journal(folder) as journal:
            async with applied(fault, subject.lab, journal, epoch_ns=0):
                rebuilt = _rebuilt(folder)
                assert rebuilt == fault, "the journal does not rebuild the fault"
                assert settings(rebuilt) == settings(fault)
                await rebuilt.heal(subject.fresh or subject.lab)
                assert (await subject.look()).state == before.state, "a rebuilt fault cannot heal"
        assert [type(event) for event in read(folder)] == [Injecting, Injected, Healed]


def _rebuilt(folder: Path) -> Fault:
    """The fault from the undo record alone."""
    record = read(folder)[0]
    assert isinstance(record, Injecting)
    kind = cast(Callable[..., Fault], catalog.faults()[record.kind])
    return kind(**record.settings)


async def _heals_when_cancelled(fault: Fault, subject: Subject, step: int) -> bool:
    """Cancel after the fault's call number `step` (0: before the first); False: it got through."""
    before = await subject.look()
    lab, trip = subject.lab, _Trip(CancelScope(), step)
    hands = {f.name: getattr(lab, f.name) for f in fields(lab) if f.name != "tenants"}
    tripping = replace(lab, **{name: _Tripping(hand, trip) for name, hand in hands.items()})
    with trip.scope:
        await fault.inject(tripping)
    await fault.heal(subject.lab)
    assert (await subject.look()).state == before.state, f"cancelled at {step}: something is left"
    return trip.sprung


@dataclass
class _Trip:
    """A wire across an injection."""

    scope: CancelScope
    at: int
    calls: int = field(default=0)
    sprung: bool = False

    async def step(self) -> None:
        """One call's boundary; the scope is cancelled at the one that was asked for."""
        if self.calls == self.at:
            self.sprung = True
            self.scope.cancel()
        await checkpoint()


class _Tripping:
    """A hand whose every call is a step on the wire."""

    def __init__(self, real: object, trip: _Trip) -> None:
        self._real, self._trip = real, trip

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        real = cast("Callable[..., Awaitable[object]]", getattr(self._real, name))

        async def call(*args: object, **named: object) -> object:
            await self._trip.step()
            result = await real(*args, **named)
            self._trip.calls += 1
            await self._trip.step()
            return result

        return call
