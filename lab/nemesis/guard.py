"""The host's own safety: beyond its limits every fault is healed at once, and the run is UNKNOWN.

A lab that starves the machine it runs on finds out nothing, and takes others' work with it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import psutil
from anyio import CancelScope, create_task_group, sleep, to_thread

from lab.errors import ExitCode, LabError
from lab.history import History
from lab.journal import Acted
from lab.verdict import Status, Verdict

ACTOR = "guard"
"""Who it was, in the journal's `acted` line."""

LOOK_SECONDS = 1.0
GRACE_SECONDS = 60.0
"""A fault may be open for this much longer than it is meant to be: healing has its own deadline."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the host must not pass; the load is the one-minute average by core."""

    memory_free_mb_min: float = 256.0
    disk_free_mb_min: float = 512.0
    load_per_core_max: float = 24.0
    fault_seconds_max: float = 3600.0


USUAL = Limits()


@dataclass(frozen=True, slots=True)
class Reading:
    """The host right now. `oldest`: the fault that has been open longest."""

    memory_free_mb: float
    disk_free_mb: float
    load_per_core: float
    oldest: str = ""
    oldest_seconds: float = 0.0


class TrippedError(LabError):
    """The guard ended what was going on: nothing can be concluded from it (exit 3)."""

    exit_code = ExitCode.UNKNOWN


@dataclass
class Lever:
    """Why the body was ended; empty when it was not."""

    why: str = ""


Look = Callable[[Mapping[str, float]], Reading]


def beyond(limits: Limits, seen: Reading) -> str:
    """Which limit is passed, in words with both numbers; empty when none is."""
    told = (
        (
            seen.memory_free_mb < limits.memory_free_mb_min,
            f"{seen.memory_free_mb:.0f} MiB of memory are left, {limits.memory_free_mb_min:g} are"
            " needed",
        ),
        (
            seen.disk_free_mb < limits.disk_free_mb_min,
            f"{seen.disk_free_mb:.0f} MiB of disk are left, {limits.disk_free_mb_min:g} are needed",
        ),
        (
            seen.load_per_core > limits.load_per_core_max,
            f"the load is {seen.load_per_core:.1f} a core, {limits.load_per_core_max:g} is too"
            " much",
        ),
        (
            seen.oldest_seconds > limits.fault_seconds_max,
            f"{seen.oldest} has been open for {seen.oldest_seconds:.0f} s,"
            f" {limits.fault_seconds_max:g} is too long",
        ),
    )
    return "; ".join(words for passed, words in told if passed)


def look(since: Mapping[str, float]) -> Reading:
    """Read the host. `since`: open fault -> when it was begun, in monotonic seconds."""
    oldest = min(since, key=lambda name: since[name], default="")
    return Reading(
        memory_free_mb=psutil.virtual_memory().available / 2**20,
        disk_free_mb=psutil.disk_usage(os.getcwd()).free / 2**20,
        load_per_core=os.getloadavg()[0] / (os.cpu_count() or 1),
        oldest=oldest,
        oldest_seconds=monotonic() - since[oldest] if oldest else 0.0,
    )


@asynccontextmanager
async def guarding(
    limits: Limits, since: Mapping[str, float], read: Look = look
) -> AsyncGenerator[Lever]:
    """Watch the host during the body; beyond a limit the body is cancelled, and the lever says why.

    since: the faults that are open, which keeps changing. What is cancelled heals, as always.
    """
    lever = Lever()

    async def watch(scope: CancelScope) -> None:
        while not lever.why:
            lever.why = beyond(limits, await to_thread.run_sync(read, dict(since)))
            if lever.why:
                scope.cancel()
            await sleep(LOOK_SECONDS)

    async with create_task_group() as tasks:
        with CancelScope() as scope:
            tasks.start_soon(watch, scope)
            yield lever
        tasks.cancel_scope.cancel()


def verdicts(history: History) -> tuple[Verdict, ...]:
    """UNKNOWN for a run that the guard ended; nothing for any other."""
    return tuple(
        Verdict(
            verifier=ACTOR,
            claim="the host stayed within its limits",
            status=Status.UNKNOWN,
            reason=f"{acted.reason}: {acted.action}",
            requirements=("H1",),
        )
        for acted in history.of(Acted)
        if acted.actor == ACTOR
    )
