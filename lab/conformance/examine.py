"""Goes through everything a system can be wrong in, in the order in which a person meets it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from lab.campaign import RUNS, fitting, prepare, run_id
from lab.conformance import rules_data, rules_money, rules_stack
from lab.conformance.bench import COHORTS, Bench, Finding, held
from lab.errors import ExitCode, LabError, precedence
from lab.healing import healer
from lab.stack.file import SystemFile, load, load_driver
from lab.stack.plan import check
from lab.stack.reach import dead_end, leads_through
from lab.stack.standing import standing
from lab.system import Driver, DriverFactory, actions_of

FIRST = (rules_data.provisioned, rules_data.connects)
RULES = (*rules_data.RULES, *rules_money.RULES, *rules_stack.RULES)
PATIENT_SECONDS = 0.3
"""How long an entrance is looked at: on a busy machine the start's own look is a short one."""

Say = Callable[[str], None]
Told = Callable[[Finding], None]


def exit_code(findings: tuple[Finding, ...]) -> ExitCode:
    """HELD when nothing is bad; UNKNOWN when no rule of a driver could be tried at all."""
    bad = [each.code for each in findings if each.status == "bad"]
    rules = {each.name for each in RULES}
    tried = any(each.check in rules and each.status == "ok" for each in findings)
    return precedence(*bad) if bad else ExitCode.HELD if tried else ExitCode.UNKNOWN


async def examine(folder: Path, mode: str, say: Say, told: Told) -> tuple[Finding, ...]:
    """Check the file, the driver, the start, the entrances, then every rule of the driver.

    say: progress of what takes long; told: called with each finding as soon as it is known. What
    is wrong with the system is a finding; only a failure of the lab itself raises LabError.
    """
    findings: list[Finding] = []

    def found(each: Finding) -> None:
        findings.append(each)
        told(each)

    system, factory = _read(folder, found)
    if system is not None and factory is not None:
        system = system.in_mode(mode)
        name = "its images are here"
        try:
            await prepare([system], say)
            name = "it starts, and gives everything back"
            async with _standing(system, factory, mode, say, found) as bench:
                await ruled(bench, found)
        except LabError as error:
            found(_bad(name, error))
    return tuple(findings)


async def ruled(bench: Bench, found: Told) -> None:
    """Every rule; those that nobody can pass without a tenant inside are not even tried."""
    outside = ""
    for each in RULES:
        if outside:
            found(Finding(each.name, "skipped", f"first mend `{outside}`"))
            continue
        finding = await held(each, bench)
        found(finding)
        if finding.status == "bad" and each in FIRST:
            outside = each.name


def _read(folder: Path, found: Told) -> tuple[SystemFile | None, DriverFactory | None]:
    """The stack file and the driver, as far as they can be read."""
    system: SystemFile | None = None
    factory: DriverFactory | None = None
    try:
        system = load(folder)
        check(system)
        links = ", ".join(system.links) or "none: no store can be broken"
        found(Finding("stack.yaml can be read", "ok", f"links: {links}"))
        factory = load_driver(system.driver)
        actions = actions_of(factory)
        found(Finding("the driver can be loaded", "ok", f"actions: {', '.join(sorted(actions))}"))
        applies = ", ".join(fitting(folder))
        mend = "most need the actions Write and Read, and an entrance per cohort"
        found(Finding("experiments apply", "ok" if applies else "bad", applies or "none", mend))
    except LabError as error:
        name = "stack.yaml can be read" if system is None else "the driver can be loaded"
        found(_bad(name, error))
    return system, factory


@asynccontextmanager
async def _standing(
    system: SystemFile, factory: DriverFactory, mode: str, say: Say, found: Told
) -> AsyncGenerator[Bench]:
    """The system stood up under a lease, with the driver's bench; `found` is told what it saw."""
    run = run_id()
    folder = RUNS / run
    folder.mkdir(parents=True, exist_ok=True)
    async with (
        healer.Lease(run, folder),
        standing(system, run=run, folder=folder, cohorts=COHORTS, mode=mode, say=say) as stack,
    ):
        slowest = max((s for s in system.services), key=lambda s: stack.timings.get(s, 0.0))
        total, last = stack.timings["total"], stack.timings.get(slowest, 0.0)
        found(Finding("it starts", "ok", f"{total:.1f} s; last was {slowest} at {last:.1f} s"))
        for (name, _), at in stack.site.entrances.items():
            if not await leads_through(at, PATIENT_SECONDS):
                raise dead_end(f"entrance {name}")
        ways = [f"{n}@{c}" if c else n for n, c in stack.site.entrances]
        found(Finding("every entrance leads in", "ok", ", ".join(ways)))
        driver: Driver = stack.driver(factory)(stack.site)
        try:
            yield Bench(
                driver,
                stack.lab.links,
                stack.lab.containers,
                abilities=system.abilities,
                fronts=sorted({e.to.service for e in system.entrances.values()}),
                ways=[name for name, e in system.entrances.items() if e.per_cohort],
            )
        finally:
            await driver.close()
            await stack.logs(folder / "logs")
            say(f"what the services said: {folder / 'logs'}")


def _bad(name: str, error: LabError) -> Finding:
    where = f"{error.where}: " if error.where else ""
    return Finding(name, "bad", f"{where}{error.what}", error.mend, error.exit_code)
