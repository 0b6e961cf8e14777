"""What a dead lab left on a stack that stays up, undone: by the healer, or by a person later."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

from anyio import sleep, to_thread

from lab.engine.api import engine
from lab.engine.netns import remove_sidecars
from lab.errors import LabError
from lab.fault import attempt
from lab.hands import Lab
from lab.hands.real.guests import retired
from lab.healing.undo import events_of, guests_of, rebuilt, undo, unhealed
from lab.journal import Injecting, Journal, trim
from lab.stack.attached import Attached, UnansweredError, attached
from lab.stack.interposer import revive
from lab.system import Tenant

STOP_SECONDS = 11.0
"""The engine gives a service ten seconds to stop: a stop under way when the lab died lasts that."""

SETTLE_SECONDS = 0.4
"""Any other call under way takes hold within this."""

ATTEMPTS = 2
"""A heal may be what makes Toxiproxy hang; the second attempt finds that out, and replaces it."""


async def heal_faults(run: str, folder: Path) -> tuple[str, ...]:
    """Heal every open fault of a kept stack from its journal; returns what was done, in words.

    Only for who holds the stack's lock: a sidecar that is there is a dead lab's then, and goes
    before it can do anything more. Raises UsageError when no such stack is kept up, LabError when a
    heal failed twice.
    """
    trim(folder)
    done = list(await to_thread.run_sync(_without_sidecars, run))
    for trial in range(1, ATTEMPTS + 1):
        records = unhealed(events_of(folder))
        if not records:
            break
        try:
            async with _reached(run, done) as stack:
                done += await undo(stack.lab, folder, records)
        except LabError:
            if trial == ATTEMPTS:
                raise
    return (*done, *await _without_guests(run, folder))


@asynccontextmanager
async def _reached(run: str, done: list[str]) -> AsyncGenerator[Attached]:
    """As `attached`; an interposer that does not answer is replaced first, and `done` tells so."""
    async with AsyncExitStack() as held:
        try:
            stack = await held.enter_async_context(attached(run))
        except UnansweredError:
            done.append(await revive(run))
            stack = await held.enter_async_context(attached(run))
        yield stack


async def _without_guests(run: str, folder: Path) -> tuple[str, ...]:
    """Remove the tenants that a dead lab had made for its faults. Raises LabError."""
    guests = guests_of(events_of(folder))
    if not guests:
        return ()
    async with attached(run) as stack:
        way = await stack.visit()
    driver = way.build(way.site)
    try:
        with Journal(folder) as journal:
            await retired(driver, [Tenant(name, name, "") for name in guests], journal)
    finally:
        await driver.close()
    return tuple(f"tenant {name}" for name in guests)


async def heal_kept(run: str, folder: Path) -> tuple[str, ...]:
    """As `heal_faults`, and then what needs no journal to be seen: see `calm`."""
    done = list(await heal_faults(run, folder))
    async with _reached(run, done) as stack:
        done += await calm(stack)
    return tuple(done)


async def heal_again(run: str, begun: Sequence[Injecting]) -> tuple[str, ...]:
    """Heal faults whose injection was cut short until nothing of it can take hold any more.

    The engine ends a call that it has accepted also when its caller is gone. Each is tried every
    time, whatever becomes of the others; returns what went wrong the last time.
    """
    problems: tuple[str, ...] = ()
    slow = any("service" in record.settings for record in begun)
    until = monotonic() + (STOP_SECONDS if slow else SETTLE_SECONDS)
    while begun and monotonic() < until:
        await sleep(SETTLE_SECONDS)
        try:
            await to_thread.run_sync(_without_sidecars, run)
            async with attached(run) as stack:
                tried = [(each.fault, await _again(each, stack.lab)) for each in begun]
            problems = tuple(f"{name}: {error}" for name, error in tried if error)
        except LabError as problem:
            problems = (str(problem),)
    return problems


async def _again(record: Injecting, lab: Lab) -> str:
    """What went wrong with one more heal, or nothing."""
    try:
        return await attempt(rebuilt(record), lab, injected=False)
    except LabError as problem:
        return problem.what


def _without_cable(run: str) -> tuple[str, ...]:
    """The services that are in no network at all; a stack file can ask for none but by name."""
    with engine() as client:
        boxes = client.standing(run)
        return tuple(box.service for box in boxes if not client.placed(box.id).addresses)


def _without_sidecars(run: str) -> tuple[str, ...]:
    with engine() as client:
        return remove_sidecars(client, run)


async def calm(stack: Attached) -> tuple[str, ...]:
    """Undo what a fault can have done to links, containers and cables, journal or not.

    Not what is inside a namespace, a store, a disk or a clock: that is found by its journal alone.
    """
    done: list[str] = []
    for proxy, names in (await stack.links.toxics()).items():
        for name in names if proxy in stack.link_names else ():
            if name == "disabled":
                await stack.links.enable(proxy, enabled=True)
            else:
                await stack.links.remove(proxy, name)
            done.append(f"{name} on link {proxy}")
    for service in stack.service_names:
        done += [f"{what} on service {service}" for what in await _calm_service(stack, service)]
    for service in await to_thread.run_sync(_without_cable, stack.run):
        if service in stack.service_names:
            await stack.lab.networks.connect(service)
            done.append(f"pulled cable of service {service}")
    return tuple(done)


async def _calm_service(stack: Attached, service: str) -> list[str]:
    """Thaw it, start it unless it may have ended by itself, and give it its declared limits."""
    hand, done = stack.lab.containers, list[str]()
    was = await hand.state(service)
    if was.paused:
        await hand.pause(service, paused=False)
        done.append("pause")
    if not was.running and service not in stack.layout.may_end:
        await hand.start(service)
        done.append("stop")
    await hand.unlimit(service, "cores")
    await hand.unlimit(service, "memory_bytes")
    await hand.unlimit(service, "pids")
    if (await hand.state(service)).limits != was.limits:
        done.append("limits")
    return done
