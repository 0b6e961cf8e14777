"""What each fault was asked to do, and what was seen of it: injected beside observed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.table import Table

from lab.history import History
from lab.journal import Confirmed, Healed, Injected, Injecting


class FaultResult(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a run. `asked`: its fields; `observed`: a field's name is what was seen of it.

    bit: whether it was confirmed, None when nobody could be asked; from_seconds: since the run's
    epoch; inject_seconds, heal_seconds: from the call to its read-back, None when it did not end.
    """

    fault: str
    kind: str
    asked: dict[str, object]
    observed: dict[str, float]
    bit: bool | None
    how: str
    from_seconds: float
    inject_seconds: float | None
    heal_seconds: float | None

    @property
    def compared(self) -> str:
        """As in `delay_ms 200 -> 203.4`, for every field that was seen."""
        return ", ".join(
            f"{name} {value} -> {self.observed[name]:.4g}"
            for name, value in self.asked.items()
            if name in self.observed
        )


def fault_results(history: History) -> tuple[FaultResult, ...]:
    """Every fault that was begun, in the order of its undo record."""
    return tuple(_results(history))


def _results(history: History) -> Iterator[FaultResult]:
    events = history.events
    for place, begun in enumerate(events):
        if not isinstance(begun, Injecting):
            continue
        mine = [e for e in events[place + 1 :] if getattr(e, "fault", "") == begun.fault]
        again = next((n for n, e in enumerate(mine) if isinstance(e, Injecting)), len(mine))
        mine = mine[:again]
        injected = next((e for e in mine if isinstance(e, Injected)), None)
        confirmed = next((e for e in mine if isinstance(e, Confirmed)), None)
        healed = next((e for e in mine if isinstance(e, Healed) and not e.error), None)
        yield FaultResult(
            fault=begun.fault,
            kind=begun.kind,
            asked=begun.settings,
            observed=confirmed.observed if confirmed else {},
            bit=confirmed.bit if confirmed else None,
            how=confirmed.how if confirmed else "",
            from_seconds=begun.at_ns / 1e9,
            inject_seconds=(injected.at_ns - injected.asked_ns) / 1e9 if injected else None,
            heal_seconds=(healed.at_ns - healed.asked_ns) / 1e9 if healed else None,
        )


def faults_table(results: tuple[FaultResult, ...]) -> Table:
    """One row a fault: asked and observed, whether it bit, and how long it took to come and go."""
    table = Table(title="faults", title_justify="left")
    for column in ("fault", "asked -> observed", "bit", "injected in", "healed in"):
        table.add_column(column, justify="right" if column.endswith(" in") else "left")
    for each in results:
        bit = {True: "yes", False: "NOT felt", None: "not asked"}[each.bit]
        table.add_row(
            each.fault, each.compared, bit, _ms(each.inject_seconds), _ms(each.heal_seconds)
        )
    return table


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
