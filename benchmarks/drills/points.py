"""The points: each hinders one command of the lab in one way, and says what was left and when."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from signal import SIGCONT, SIGINT, SIGKILL, SIGSTOP
from time import monotonic, monotonic_ns, sleep

from benchmarks.drills.ground import Ground
from lab.engine.api import engine
from lab.fault import Fault
from lab.journal import Healed, Injected, Injecting

CALM_SECONDS = 14.0
"""A stop that was under way takes its ten seconds; nothing takes longer."""

TTL_SECONDS = 1.0
AIM_SECONDS = 1.0
"""What the healer is meant to take, and a frozen lab beyond its lease."""


@dataclass(frozen=True)
class Seen:
    """What one point showed. `heal_seconds`: from the death, or None where there was nothing open.

    why: empty when all is well; calm_seconds: from the death until nothing was left, also of what
    the engine was still doing for the dead lab. late: healed, and later than it is meant to be.
    """

    what: str
    fault: str
    heal_seconds: float | None = None
    why: str = ""
    calm_seconds: float | None = None
    late: bool = False


Point = Callable[[Ground, Fault, Random], Seen]


def killed(ground: Ground, fault: Fault, draw: Random) -> Seen:
    """SIGKILL at a random moment: while it is put in place, held, healed, or just after."""
    ground.free()
    count, held_ms = ground.count(Injecting), draw.randint(20, 200)
    with ground.inject(fault, f"{held_ms}ms") as process:
        ground.begun(process, count + 1)
        sleep(draw.uniform(0.0, held_ms / 1000 + 0.1))  # the moment is what is tried here
        process.kill()
        died_ns = monotonic_ns()
    left = ground.calm_again(CALM_SECONDS)
    calm_seconds, took = (monotonic_ns() - died_ns) / 1e9, _since(ground, died_ns)
    late = took is not None and took > AIM_SECONDS
    return Seen("killed", repr(fault), took, _why(left), calm_seconds, late)


def frozen(ground: Ground, fault: Fault, draw: Random) -> Seen:
    """SIGSTOP while it is held: healed when the lease runs out; the thawed lab ends with 4."""
    ground.free()
    count = ground.count(Injected)
    with ground.inject(fault, "30s", ttl=f"{TTL_SECONDS:g}s") as process:
        if not ground.in_place(process, count + 1):
            return _unbegun("frozen", fault, process)
        sleep(draw.uniform(0.0, 0.5))
        os.kill(process.pid, SIGSTOP)
        died_ns = monotonic_ns()
        left = ground.calm_again(CALM_SECONDS)
        took = _since(ground, died_ns)
        os.kill(process.pid, SIGCONT)
        process.wait(30)
    why = _why(left or ground.calm_again(CALM_SECONDS))
    if not why and process.returncode != 4:
        why = f"the thawed lab ended with {process.returncode}"
    late = took is None or took > TTL_SECONDS + AIM_SECONDS
    return Seen("frozen", repr(fault), took, why, late=late)


def interrupted(ground: Ground, fault: Fault, draw: Random) -> Seen:
    """SIGINT, and twice more while it heals: it heals all the same, and ends with 130."""
    ground.free()
    count = ground.count(Injected)
    with ground.inject(fault, "30s") as process:
        if not ground.in_place(process, count + 1):
            return _unbegun("interrupted", fault, process)
        began_ns = monotonic_ns()
        for _ in range(3):
            if process.poll() is None:
                process.send_signal(SIGINT)
            sleep(draw.uniform(0.0, 0.02))
        process.wait(30)
    why = _why(ground.calm_again(0.5))
    if not why and process.returncode != 130:
        why = f"it ended with {process.returncode}"
    return Seen("interrupted", repr(fault), _since(ground, began_ns), why)


def wedged(ground: Ground, fault: Fault, draw: Random) -> Seen:
    """Toxiproxy hangs, then SIGKILL: the healer replaces what does not answer."""
    return _hindered("wedged", ground, fault, draw, "toxiproxy", signal.SIGSTOP)


def bereft(ground: Ground, fault: Fault, draw: Random) -> Seen:
    """The target dies while it is broken, then SIGKILL: the heal does not mind."""
    target = next((s for s in ground.services if s in fault.target), "redis")
    return _hindered("target killed", ground, fault, draw, target, SIGKILL)


def beside(ground: Ground, other: Ground, fault: Fault, draw: Random) -> Seen:
    """Two labs break two stacks in the same way; one is killed, and the other one's fault stays."""
    ground.free()
    other.free()
    counts = ground.count(Injected), other.count(Injected)
    with ground.inject(fault, "30s") as first, other.inject(fault, "30s") as second:
        for stack, process, count in ((ground, first, counts[0]), (other, second, counts[1])):
            if not stack.in_place(process, count + 1):
                first.kill()
                second.kill()
                return _unbegun("beside", fault, process)
        broken = other.left()
        sleep(draw.uniform(0.0, 0.2))
        first.kill()
        died_ns = monotonic_ns()
        why = _why(ground.calm_again(CALM_SECONDS))
        if not why and other.left() != broken:
            why = f"the other stack changed: {broken} -> {other.left()}"
        second.send_signal(SIGINT)
        second.wait(30)
    return Seen("beside", repr(fault), _since(ground, died_ns), why or _why(other.left()))


def _hindered(
    what: str, ground: Ground, fault: Fault, draw: Random, service: str, number: signal.Signals
) -> Seen:
    """A container of the stack is signalled while the fault is held, and then the lab is killed."""
    ground.free()
    count = ground.count(Injected)
    with engine() as client:
        box = next(b for b in client.standing() if (b.run, b.service) == (ground.run, service))
        with ground.inject(fault, "30s") as process:
            if not ground.in_place(process, count + 1):
                return _unbegun(what, fault, process)
            client.kill(box.id, number)
            sleep(draw.uniform(0.0, 0.1))
            process.kill()
            died_ns = monotonic_ns()
        until = monotonic() + CALM_SECONDS
        while _since(ground, died_ns) is None and monotonic() < until:
            sleep(0.05)
        client.start(box.id)  # where the drill killed it, nobody else has to start it
    return Seen(what, repr(fault), _since(ground, died_ns), _why(ground.calm_again(5.0)))


def _unbegun(what: str, fault: Fault, process: subprocess.Popen[str]) -> Seen:
    """The command ended before the fault was in place, which it does not do by itself."""
    _, errors = process.communicate(timeout=30)
    return Seen(what, repr(fault), None, f"it was never in place: {errors.strip()}")


def _since(ground: Ground, died_ns: int) -> float | None:
    """When the first heal after a death was done; None when nothing was open."""
    healed = (e for e in ground.events() if isinstance(e, Healed) and not e.error)
    return next(((e.at_ns - died_ns) / 1e9 for e in healed if e.at_ns > died_ns), None)


def _why(left: tuple[str, ...]) -> str:
    return f"left: {', '.join(left)}" if left else ""
