"""The faults of a phase, while it is played: put in place, watched, asked whether they bit, healed.

Faults of the whole phase are in place before its load begins; timed ones come and go on the load's
own clock, each in a task of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, monotonic_ns

from anyio import sleep_until

from lab.experiment import Phase, Timed
from lab.fault import Fault, Observing, Window, applied, covers_open, name_of
from lab.hands import Lab
from lab.history import Op
from lab.journal import Confirmed, Journal
from lab.nemesis.blast import judged

NOT_COVERED = "connections that were open before are not covered"


@dataclass
class Faulting:
    """What breaks one story. `ops`: all that was seen so far, which keeps growing.

    since: fault -> when it was asked for (monotonic seconds), for those not yet healed.
    """

    lab: Lab
    journal: Journal
    epoch_ns: int
    ops: Sequence[Op]
    since: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def now_ns(self) -> int:
        """Monotonic nanoseconds since the run's epoch."""
        return monotonic_ns() - self.epoch_ns

    @asynccontextmanager
    async def held(self, phase: Phase, before: Window) -> AsyncGenerator[Seen]:
        """Hold the faults of the whole phase; what was seen is known, and told, at the end."""
        seen = Seen()
        counters = await _observed(phase.held, self.lab)
        async with AsyncExitStack() as faults:
            for fault in phase.held:
                await faults.enter_async_context(self._open(fault))
            start_ns = self.now_ns
            yield seen
            later = await _observed(phase.held, self.lab)
            grown = {name: value - counters.get(name, 0.0) for name, value in later.items()}
            seen.window = self._window(phase.name, start_ns, grown)
            for fault in phase.held:
                self._confirm(fault, before, seen.window)

    async def strike(self, phase: Phase, event: Timed, start: float, before: Window) -> None:
        """One timed fault; `start` is when the phase's load begins, on the event loop's clock."""
        await sleep_until(start + event.start_seconds)
        one = Phase(phase.name, event.end_seconds - event.start_seconds, (event.fault,))
        async with self.held(one, before):
            await sleep_until(start + event.end_seconds)

    @asynccontextmanager
    async def _open(self, fault: Fault) -> AsyncGenerator[None]:
        """As `applied`, and known to be open for as long as it is."""
        self.since[name_of(fault)] = monotonic()
        async with applied(fault, self.lab, self.journal, epoch_ns=self.epoch_ns):
            yield
        del self.since[name_of(fault)]

    def _window(self, phase: str, start_ns: int, grown: dict[str, float]) -> Window:
        """What was seen since `start_ns`: the operations due in it, the growth of counters."""
        ops = tuple(op for op in self.ops if op.phase == phase and op.due_ns >= start_ns)
        return Window(max((self.now_ns - start_ns) / 1e9, 1e-3), ops, grown)

    def _confirm(self, fault: Fault, before: Window, during: Window) -> None:
        """Ask the fault whether it bit, and say so in the journal."""
        effect = judged(fault, before, during)
        how = effect.how if covers_open(fault) else f"{effect.how}; {NOT_COVERED}"
        self.journal.append(
            Confirmed(fault=name_of(fault), bit=effect.bit, how=how, observed=dict(effect.observed))
        )


@dataclass
class Seen:
    """What a phase showed, once it is over."""

    window: Window = field(default_factory=lambda: Window(1.0, (), {}))


async def _observed(faults: Sequence[Fault], lab: Lab) -> dict[str, float]:
    """What the faults' own witnesses count right now."""
    seen = [await fault.observe(lab) for fault in faults if isinstance(fault, Observing)]
    return {name: value for each in seen for name, value in each.items()}
