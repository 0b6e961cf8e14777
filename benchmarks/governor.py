"""How well noisy neighbours are found and stopped: five kinds, so many times each, on one stack.

    python -m benchmarks.governor [--times 20] [--kinds cpu,query,...]     about 14 s a repetition
    python -m benchmarks.governor --harmless 30m                           as long as it says

Nine quiet tenants write and read at an even pace (open loop); the tenth, who was sold too much, is
noisy for 6 seconds, calm for 7.5 (by then what was done to it is undone), and so on: CPU, slow
queries, memory, sockets, requests. A line after every repetition, so that a run that is cut short
is evidence as well. Told in the end, by kind: whether the right tenant was named; how long after
the attack's first request; who else was touched, which must be nobody: exit code 1 if it was
somebody; and when the others' p95 was back under 1.10 of the calm before, in two ways:

- back: of all attacks of the kind laid over each other, from that moment to their end, with its
  95 % limit (`lab/stats/overlay.py`), steady host or not; under 1.10 of the calm after the attacks,
  all of it together, which has the host's hiccups as well;
- each: p95 over the single attacks on a steady host, each by a rolling second. A hiccup of the host
  makes one infinite. So that one can tell: how many single attacks are over 1.10 from the third
  second on, and how many stretches of calm, of the same length, are.

An attack that hurt nobody is told apart: there was nothing to find. The backend, with the agents in
it, has one core. Behind the shield; the machine has to be quiet.

--harmless: everybody is busy within what everybody has, with bursts to the brim, beside as many
strangers as the host has cores. Nothing at all may be done to anybody: exit code 1 if it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from math import nan
from os import cpu_count
from pathlib import Path

import anyio
import numpy as np

from benchmarks.standing import Silent, leased, played, unsaid
from benchmarks.strangers import strangers
from experiments._governed import SOLD, noise
from experiments._noise import burn, gorge, hammer, neighbours, slow_queries
from experiments._tenants import chat
from faults.containers import CpuQuota
from faults.tenants import CrashAgent, Flood
from lab import journal
from lab.campaign import RUNS, prepare, run_id
from lab.experiment import Experiment, Phase, Timed
from lab.governor import Governor
from lab.history import History, Op, history
from lab.journal import GOVERNOR, Acted, Entered, Sampled
from lab.load import events
from lab.monitor.beside import Watching
from lab.stack.file import load, load_driver
from lab.stats.overlay import Back, Stretch, back
from lab.stats.series import quantile_of, series
from lab.verifiers._attacks import MITIGATED_RATIO, Attack, attack, figures, named, touched
from lab.workload import Workload

SYSTEM = Path("compose/reference")
CALM_SECONDS, ATTACK_SECONDS, LEARN_SECONDS, MONITOR_HZ = 7.5, 6.0, 6.0, 10.0
AIM_SECONDS, TAIL_SECONDS = 3.0, 1.7
"""Mitigated within, and how long is looked at from there on: sixty sockets take a second to open,
which leaves these two and what meets the attack's end."""
SOCKETS = Timed(Flood("noisy-0", 250.0, "read", 1, 60), 0.1, ATTACK_SECONDS)
JOINING = {
    "cpu": noise(burn, 16.0),  # of 0.4 s each: its process is never idle, once it has begun
    "query": noise(slow_queries, 20.0),
    "memory": noise(gorge, 2.0),
    "requests": noise(hammer, 600.0),
}
KINDS = (*JOINING, "sockets")
BEFORE = {"memory": (CrashAgent("noisy-0"),)}
"""An agent that was killed under a memory cap has it until it starts anew."""
CORES = 1.0
"""What the backend and the agents in its container have: with two, one agent hurts nobody."""
LAST = "calm at last"
say = sys.stdout.write


class Teller(Silent):
    """The run's view: an attack is judged as soon as the calm after it is over."""

    def __init__(self, folder: Path, ops: list[Op]) -> None:
        self._folder, self._ops = folder, ops
        self._entered: list[tuple[str, int]] = []  # phases, and how many operations there were
        self.attacks: list[Attack] = []

    def phase(self, name: str, seconds: float) -> None:
        """Called at the beginning of each."""
        self._entered.append((name, len(self._ops)))
        if name.startswith("busy"):
            self._count(name)
        elif len(self._entered) > 5 and not name.startswith(("calm", "burst")):
            (before, since), (middle, _), (after, _), _ = self._entered[-4:]
            self._judge(before, middle, after, since)

    def seen(self, since: int = 0) -> History:
        """Everything up to now, but for the first operations."""
        return history(self._ops[since:], journal.read(self._folder))

    def _judge(self, before: str, name: str, after: str, since: int) -> None:
        seen = self.seen(since)
        if found := attack(seen, before, name, after, culprits="noisy", of="quiet"):
            self.attacks.append(found)
            say(f"{found}{'' if found.steady else ' (unsteady host)'}\n")
            sys.stdout.flush()

    def _count(self, name: str) -> None:
        acts = [a for a in self.seen().of(Acted) if a.actor == GOVERNOR]
        say(f"{name}: {len(self._ops):,} operations, {len(acts)} actions so far\n")
        sys.stdout.flush()


def attacking(kinds: Sequence[str], times: int) -> Experiment:
    """calm, attack, calm, attack... ; the kinds take turns."""
    quiet, noisy = neighbours(10, **SOLD)
    phases = [Phase("warm-up", 2), Phase("learn", LEARN_SECONDS)]
    for n in range(times):
        for kind in kinds:
            joined = (JOINING[kind],) if kind in JOINING else ()
            faults = () if kind in JOINING else (SOCKETS,)
            phases.append(Phase(f"calm before {kind} {n + 1}", CALM_SECONDS, BEFORE.get(kind, ())))
            phases.append(Phase(f"{kind} {n + 1}", ATTACK_SECONDS, faults, joined))
    phases += [Phase(LAST, CALM_SECONDS), Phase("the end", 0.5)]
    return Experiment(
        claim="", cohorts=(quiet, noisy), workloads=(chat(quiet),),
        phases=tuple(phases), verifiers=(),
    )  # fmt: skip


def harmless(seconds: float) -> Experiment:
    """Steady work, and in every other stretch bursts of all kinds that are within the quotas."""
    quiet, other = neighbours(10)
    bursts = tuple(
        Workload("noisy", behaviour, rate, noise(behaviour, rate).actions, in_flight_max=8)
        for behaviour, rate in ((hammer, 30.0), (burn, 0.3), (slow_queries, 0.3))
    )
    phases = [Phase("warm-up", 2), Phase("learn", LEARN_SECONDS)]
    for n in range(max(1, round(seconds / 20))):
        phases.append(Phase(f"busy {n + 1}", 10))
        phases.append(Phase(f"burst {n + 1}", 10, joined_by=bursts))
    return Experiment(
        claim="", cohorts=(quiet, other), workloads=(chat(quiet),),
        phases=tuple(phases), verifiers=(),
    )  # fmt: skip


@asynccontextmanager
async def performed(story: Experiment) -> AsyncGenerator[Teller]:
    """The story on a stack of its own, under a governor."""
    system = load(SYSTEM).in_mode("process")
    driver = load_driver(system.driver)
    await prepare([system], unsaid)
    run = run_id()
    folder = RUNS / run
    folder.mkdir(parents=True)
    names, ops = [c.name for c in story.cohorts], list[Op]()
    up = leased(system, folder, cohorts=names, mode="process", shielded=True, run=run)
    async with up as stack:
        await CpuQuota("backend", CORES).inject(stack.lab)
        watching = Watching(stack, driver, per_second=MONITOR_HZ)
        governor = Governor(monitor=watching.monitor, shelter=stack.shelter)
        teller = Teller(folder, ops)
        try:
            await played(
                story, stack, driver, folder, name="governor", seed=7, view=teller, ops=ops,
                companions=(watching, governor), governor=True,
            )  # fmt: skip
        finally:
            events.write(folder / "events.parquet", ops)
    say(f"{folder}\n")
    yield teller


async def attacked(kinds: Sequence[str], times: int) -> bool:
    """Print what became of every attack, then the figures by kind; whether nobody else was hit."""
    async with performed(attacking(kinds, times)) as teller:
        seen = teller.seen()
    by_phase = grouped(seen.ops)
    calm = after(seen, teller.attacks, by_phase)
    usual = pooled(calm, TAIL_SECONDS)
    say("kind      attacks  harmful  right   found p50    p95      back (95 %)   each: p50   p95"
        "  (steady)   over 1.10\n")  # fmt: skip
    for kind in kinds:
        mine = [each for each in teller.attacks if each.phase.startswith(f"{kind} ")]
        hurt = [each for each in mine if each.harmful]
        right, steady = sum("noisy-0" in a.named for a in hurt), sum(a.steady for a in hurt)
        told, stretches = figures(hurt), [stretch(by_phase[a.phase], a) for a in hurt]
        eased = back(stretches, MITIGATED_RATIO * usual, seed=1) if stretches else Back(nan, nan)
        over = sum(over_at(each, AIM_SECONDS) for each in stretches)
        say(
            f"{kind:9} {len(mine):7} {len(hurt):8} {right:6}"
            f" {told['found_seconds_p50']:9.2f} s {told['found_seconds_p95']:4.2f} s"
            f" {eased.seconds:7.2f} s ({eased.limit:.2f})"
            f" {told['mitigated_seconds_p50']:9.2f} s {told['mitigated_seconds_p95']:4.2f} s"
            f"  ({steady:2})    {over:2} of {len(stretches)}\n"
        )
    over = sum(over_at(each, 0.0) for each in calm)
    say(f"calm      {len(calm):7} stretches as long: {over} over 1.10; together x{usual:.2f}\n")
    wrong, innocents = named(seen) - {"noisy-0"}, touched(seen, {"noisy-0"})
    say(f"wrong names: {sorted(wrong)}; innocents touched: {len(innocents)}\n")
    for act in innocents:
        say(f"  {act.tenant}: {act.action}: {act.reason}\n")
    return not wrong and not innocents


def grouped(ops: Sequence[Op]) -> dict[str, list[Op]]:
    """phase -> what the quiet ones did."""
    found = dict[str, list[Op]]()
    for op in ops:
        if op.cohort == "quiet":
            found.setdefault(op.phase, []).append(op)
    return found


def stretch(ops: Sequence[Op], of: Attack, since_ns: int = 0) -> Stretch:
    """The operations after the attack's onset, or after another moment, over what was usual."""
    due, latency_ms = series(ops, since_ns=since_ns or of.onset_ns)
    fits = due < AIM_SECONDS + TAIL_SECONDS
    return Stretch(due[fits], latency_ms[fits] / of.usual_ms)


def pooled(stretches: Sequence[Stretch], until: float) -> float:
    """The p95 of all of them together, up to a moment."""
    return quantile_of(np.concatenate([s.ratios[s.seconds < until] for s in stretches]), 0.95)


def over_at(each: Stretch, since: float) -> bool:
    """Whether what follows is over the ratio, taken by itself."""
    return each.over(MITIGATED_RATIO, since=since, until=since + TAIL_SECONDS)


def after(seen: History, attacks: Sequence[Attack], by_phase: dict[str, list[Op]]) -> list[Stretch]:
    """The middle of each calm that follows an attack: nobody attacks there."""
    phases = [e.phase for e in seen.of(Entered)]
    follows = dict(pairwise(phases))
    calm = [(by_phase[follows[each.phase]], each) for each in attacks]
    middle_ns = round(CALM_SECONDS / 2 * 1e9)
    return [stretch(ops, a, min(op.due_ns for op in ops) + middle_ns) for ops, a in calm]


async def bothered(seconds: float) -> bool:
    """Print whatever was done to anybody; whether it was nothing."""
    with strangers(cpu_count() or 1):
        async with performed(harmless(seconds)) as teller:
            seen = teller.seen()
    acts = [act for act in seen.of(Acted) if act.actor == GOVERNOR]
    alarms = [e for e in seen.of(Sampled) if e.probe == GOVERNOR]
    say(f"{seconds:g} s, {len(seen.ops):,} operations: {len(alarms)} findings, {len(acts)} acts\n")
    for act in acts:
        say(f"  {act.tenant}: {act.action}: {act.reason}\n")
    say("VIOLATED: something was done\n" if acts else "HELD: nothing was done to anybody\n")
    return not acts


def main() -> int:
    """See the module; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.governor")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--harmless", default="", help="for how long, as in 30m or 90s")
    options = parser.parse_args()
    if text := str(options.harmless):
        seconds = float(text.rstrip("sm")) * (60 if text.endswith("m") else 1)
        return 0 if anyio.run(bothered, seconds) else 1
    return 0 if anyio.run(attacked, str(options.kinds).split(","), int(options.times)) else 1


if __name__ == "__main__":
    sys.exit(main())
