"""Holds the smallest system up for tests, on an event loop in another thread."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from lab.stack.file import load, load_driver
from lab.stack.standing import Stack, standing
from lab.system import Driver, Session, TenantPlan

ROOT = Path(__file__).parents[2]
SMALLEST = ROOT / "compose" / "minimal"
T = TypeVar("T")


def fresh_run() -> str:
    """The id of a run that nothing else has."""
    return f"test-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Held:
    """A standing stack, and `do` to run a coroutine function on its loop."""

    stack: Stack
    run: str
    folder: Path
    portal: BlockingPortal

    def do(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run `work` where the stack lives."""
        return self.portal.call(work)


@contextmanager
def held(folder: Path, run: str, system: Path = SMALLEST) -> Generator[Held]:
    """A system, the smallest unless told otherwise, with the cohorts quiet and noisy."""
    up = standing(
        load(system), run=run, folder=folder, cohorts=("quiet", "noisy"), say=lambda _: None
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(up) as stack:
        yield Held(stack, run, folder, portal)


async def two_sessions(stack: Stack, prefix: str) -> tuple[Driver, Session, Session]:
    """A driver, and one open session in each cohort."""
    driver = load_driver(SMALLEST / "driver.py")(stack.site)
    plan = TenantPlan({"calm": "quiet", "loud": "noisy"}, prefix=prefix, seed=1)
    calm, loud = await driver.provision(plan)
    return driver, await driver.connect(calm), await driver.connect(loud)
