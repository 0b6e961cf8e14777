"""What the person sees: the options first, the story as it runs, then timeline and verdicts."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.campaign import Plan
from lab.history import Op, Outcome
from lab.journal import Confirmed, Healed, Injected, Left, Sampled
from lab.judging import Judged
from lab.report.faulty import fault_results, faults_table
from lab.verdict import Status, Verdict, worst

STYLES = {Status.HELD: "green", Status.UNKNOWN: "yellow", Status.VIOLATED: "bold red"}
REFRESH_PER_SECOND = 2
PLAIN_WIDTH = 120


class Plain:
    """Plain lines: for pipes, CI and logs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = monotonic()

    def say(self, line: str) -> None:
        """One line, with the seconds since the start before it."""
        self.console.print(
            f"{monotonic() - self._began:7.1f}s  {line}", highlight=False, markup=False
        )

    def phase(self, name: str, seconds: float) -> None:
        """A line for the phase."""
        self.say(f"phase {name} (at most {seconds:g} s)")

    def ops(self, batch: Sequence[Op]) -> None:
        """Nothing: plain output has no live figures."""


class LiveTable:
    """A live table of the phase at hand: how much was answered, how fast, by cohort."""

    def __init__(self, console: Console, live: Live) -> None:
        self.console, self._live = console, live
        self._plain = Plain(console)
        self._phase, self._until, self._ops = "", 0.0, list[Op]()

    def say(self, line: str) -> None:
        """A line above the table."""
        self._plain.say(line)

    def phase(self, name: str, seconds: float) -> None:
        """The table starts over for the new phase."""
        self._plain.phase(name, seconds)
        self._phase, self._until = name, monotonic() + seconds
        self._ops.clear()

    def ops(self, batch: Sequence[Op]) -> None:
        """Take the new operations in; the table itself is drawn twice a second."""
        self._ops.extend(op for op in batch if op.phase == self._phase)
        self._live.update(self._table())

    def _table(self) -> Table:
        left = max(self._until - monotonic(), 0.0)
        table = Table(title=f"{self._phase}: {left:.0f} s left", title_justify="left")
        for column in ("cohort", "answered", "refused", "unknown", "p50 ms", "p95 ms"):
            table.add_column(column, justify="right")
        for cohort in sorted({op.cohort for op in self._ops}):
            table.add_row(cohort, *_figures([op for op in self._ops if op.cohort == cohort]))
        return table


def header(what: Plan) -> tuple[str, ...]:
    """The first lines of every run: the seed, then every option, so that it can be repeated."""
    asked = what.request
    options = {
        "experiments": " ".join(asked.names),
        "profile": asked.profile,
        "system": asked.system,
        "mode": what.mode or "-",
        "tenants": asked.tenants or "the experiment's own choice",
        "defects": " ".join(asked.defects) or "none",
        "shield": "where the host allows it" if asked.shield else "off",
        "monitor": f"{asked.monitor_hz:g} a second" if asked.monitor_hz else "off",
        "run": what.run,
    }
    return (f"seed {asked.seed}", *(f"{name} {value}" for name, value in options.items()))


def console(*, to_stderr: bool) -> Console:
    """Where to report: as wide as the terminal, or as the tables need when there is none."""
    made = Console(stderr=to_stderr)
    return made if made.is_terminal else Console(stderr=to_stderr, width=PLAIN_WIDTH)


@contextmanager
def watching(console: Console) -> Generator[Plain | LiveTable]:
    """The live table on a terminal, plain lines anywhere else."""
    if not console.is_terminal:
        yield Plain(console)
        return
    with Live(console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True) as live:
        yield LiveTable(console, live)


def show(console: Console, judged: Judged) -> None:
    """The whole report of one experiment: timeline, verdicts, and where the artefacts are."""
    console.print()
    console.print(_timeline(judged))
    if faults := fault_results(judged.history):
        console.print(faults_table(faults))
    console.print(_verdicts(judged.verdicts))
    for line in _closing(judged):
        console.print(line, highlight=False)


def _figures(ops: Sequence[Op]) -> tuple[str, ...]:
    """Answered, refused, unknown, p50 and p95 of what was answered."""
    counts = {outcome: sum(op.outcome is outcome for op in ops) for outcome in Outcome}
    times = [op.latency_ms for op in ops if op.outcome is Outcome.OK]
    p50, p95 = np.quantile(times, (0.5, 0.95)) if times else (float("nan"),) * 2
    numbers = (counts[Outcome.OK], counts[Outcome.FAIL], counts[Outcome.INFO])
    return (*map(str, numbers), f"{p50:.1f}", f"{p95:.1f}")


def _timeline(judged: Judged) -> Table:
    """One row a phase and cohort: when, how long, what was answered, which faults bit."""
    opened = judged.history.opened
    shield = "behind a shield" if opened.shield else "no shield"
    table = Table(title=f"{opened.experiment}: timeline, {shield}", title_justify="left")
    for column in (
        "phase",
        "from",
        "for",
        "cohort",
        "answered",
        "refused",
        "unknown",
        "p50",
        "p95",
    ):
        table.add_column(column, justify="left" if column in {"phase", "cohort"} else "right")
    table.add_column("what happened")
    first_ns = judged.history.entered(judged.experiment.phases[0].name)
    for phase in judged.experiment.phases:
        entered = judged.history.entered(phase.name)
        left = next((e for e in judged.history.of(Left) if e.phase == phase.name), None)
        if entered is None or left is None or first_ns is None:
            continue
        start = f"{(entered.at_ns - first_ns.at_ns) / 1e9:.1f} s"
        head = [phase.name, start, f"{(left.at_ns - entered.at_ns) / 1e9:.1f} s"]
        story = _happened(judged, entered.at_ns, left)
        for cohort in sorted({op.cohort for op in judged.history.during(phase.name)}):
            figures = _figures(judged.history.during(phase.name, cohort=cohort))
            table.add_row(*head, cohort, *figures, story)
            head, story = ["", "", ""], ""
    return table


def _happened(judged: Judged, from_ns: int, left: Left) -> str:
    """The faults of a phase, whether they bit, and why the phase ended early."""
    injected = [e for e in judged.history.of(Injected) if from_ns <= e.at_ns <= left.at_ns]
    bit = {e.fault: e for e in judged.history.of(Confirmed)}
    parts = [
        f"{e.fault}: {'bit, ' if bit[e.fault].bit else 'NOT felt, '}{bit[e.fault].how}"
        for e in injected
        if e.fault in bit
    ]
    parts += [f"{e.fault}: {e.error}" for e in judged.history.of(Healed) if e.error]
    return "; ".join([*parts, *([left.why] if left.why != "time" else [])])


def _verdicts(verdicts: Sequence[Verdict]) -> Table:
    """The table of verdicts: numbers, intervals and exposures in words, worst first."""
    table = Table(title="verdicts", title_justify="left", show_lines=True)
    for column in ("verdict", "verifier", "claim and finding", "seen"):
        table.add_column(column, overflow="fold")
    for verdict in sorted(verdicts, key=lambda v: -v.status.badness):
        finding = Text(verdict.claim + "\n", style="bold")
        finding.append(verdict.reason, style="not bold")
        for line in _evidence(verdict):
            finding.append(f"\n  {line}", style="not bold red")
        seen = "\n".join(f"{count:,} {name}" for name, count in verdict.exposures.items())
        table.add_row(Text(verdict.status, STYLES[verdict.status]), verdict.verifier, finding, seen)
    return table


def _evidence(verdict: Verdict) -> Sequence[str]:
    """A few lines that show what is wrong and are not in the reason already."""
    if verdict.status is Status.HELD:
        return ()
    return [line for line in verdict.evidence if line not in verdict.reason][:5]


def _closing(judged: Judged) -> Iterator[str]:
    """The last lines: overall status, what failed, what was left behind, where everything is."""
    opened, status = judged.history.opened, worst(judged.verdicts)
    if judged.error:
        yield f"[bold red]the lab failed:[/] {judged.error}"
    for name in judged.residue:
        yield f"[bold red]left behind:[/] {name}"
    for cost in (e.values for e in judged.history.of(Sampled) if e.probe == "monitor"):
        yield (
            f"monitor: {cost['readings']:,.0f} readings of"
            f" {len(judged.history.resources.sources)} sources,"
            f" for {cost['share']:.2%} of the machine"
        )
    if judged.timings:
        yield "times: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in judged.timings)
    yield f"artefacts: {judged.folder}   again: lab judge {judged.folder}   seed: {opened.seed}"
    code = judged.exit_code
    yield f"[{STYLES[status]}]{status}[/]  exit {int(code)}: {code.meaning}"
