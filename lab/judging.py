"""From a run's folder to its verdicts, with no engine running: the pure half of the lab.

A live run ends in the same function as `lab judge RUN`, so both give the same verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import catalog, journal, resources
from lab.errors import ExitCode, LabError, precedence
from lab.experiment import Experiment, Profile, Setup
from lab.healing import residue
from lab.history import History, history
from lab.journal import Closed, Healed, Opened, Sampled
from lab.load import events
from lab.nemesis import guard
from lab.system import Ability, View
from lab.verdict import Status, Verdict
from lab.verifiers import judge_all

EVENTS_FILE = "events.parquet"
RESIDUE = "residue"
"""The probe that looks, after everything is down, for what is not."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A run as it is reported: what was meant, what happened, what it is worth."""

    folder: Path
    experiment: Experiment
    history: History
    verdicts: tuple[Verdict, ...]
    timings: tuple[tuple[str, float], ...] = ()

    @property
    def error(self) -> str:
        """Why the run did not finish; empty when it did."""
        closed = self.history.of(Closed)
        return closed[-1].error if closed else "the journal has no last line: the lab was killed"

    @property
    def spoiled(self) -> bool:
        """Whether the stack was left in a state that no other story should start from."""
        censuses = {s.probe: s.items for s in self.history.of(Sampled)}
        after = censuses.get("census after")
        return after is None or after != censuses.get("census before")

    @property
    def residue(self) -> tuple[str, ...]:
        """What of the run was still there after it, or not as before it, by kind and name."""
        seen = {sample.probe: sample.items for sample in self.history.of(Sampled)}
        of_stack = residue.difference(
            seen.get(residue.BEFORE, {}), seen.get(residue.AFTER, seen.get(residue.BEFORE, {}))
        )
        return (*of_stack, *seen.get(RESIDUE, {}).get("left", ()))

    @property
    def tripped(self) -> bool:
        """Whether the guard ended it: the host is in no state for another one."""
        return bool(guard.verdicts(self.history))

    @property
    def exit_code(self) -> ExitCode:
        """All that went wrong, folded by the documented precedence."""
        return precedence(*self.exit_codes)

    @property
    def exit_codes(self) -> tuple[ExitCode, ...]:
        """Every code that holds; verdicts first."""
        of_status = {
            Status.HELD: ExitCode.HELD,
            Status.UNKNOWN: ExitCode.UNKNOWN,
            Status.VIOLATED: ExitCode.VIOLATED,
        }
        codes = {of_status[verdict.status] for verdict in self.verdicts} or {ExitCode.UNKNOWN}
        if self.error or any(healed.error for healed in self.history.of(Healed)):
            codes.add(ExitCode.LAB_FAILED)
        if self.residue:
            codes.add(ExitCode.RESIDUE)
        return tuple(sorted(codes))


def setup_of(opened: Opened) -> Setup:
    """The setup that a run was built from, as its journal tells."""
    view = View(
        name=opened.system,
        links=opened.links,
        abilities=frozenset(Ability(a) for a in opened.abilities),
        actions=frozenset(opened.actions),
    )
    return Setup(Profile(opened.profile), opened.seed, view, opened.tenants, opened.governor)


def judge(folder: Path) -> Judged:
    """Read a run's journal and events and judge them. Raises LabError for what cannot be read."""
    lines = journal.read(folder)
    if not lines or not isinstance(lines[0], Opened):
        raise LabError("the journal does not begin with `opened`", where=str(folder))
    seen = history(events.read(folder / EVENTS_FILE), lines, resources.read(folder))
    experiment = catalog.experiment(seen.opened.experiment).build(setup_of(seen.opened))
    verdicts = (*judge_all(experiment.verifiers, seen), *guard.verdicts(seen))
    return Judged(folder, experiment, seen, verdicts)
