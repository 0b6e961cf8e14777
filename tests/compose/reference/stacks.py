"""A running reference stack for tests: one event loop in a thread, tests stay plain functions."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import aiohttp
from anyio.from_thread import BlockingPortal, start_blocking_portal
from websockets.asyncio.client import ClientConnection, connect

from lab.actions import Action
from lab.stack.file import load, load_driver
from lab.stack.standing import Stack, standing
from lab.system import Driver, Refused, Session, Tenant, TenantPlan

SYSTEM = Path(__file__).parents[3] / "compose" / "reference"
IMAGE = "crosstalk/reference-platform"
COHORTS = ("quiet", "noisy")
SWITCHES = ("admin", "login")
WAIT_SECONDS = 3.0
T = TypeVar("T")
_numbers = itertools.count(1)


async def eventually(true: Callable[[], Awaitable[bool]], seconds: float = WAIT_SECONDS) -> None:
    """Look again and again until it is true. Raises TimeoutError when it never is."""
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - seen from outside, nothing tells us
            await asyncio.sleep(0.02)


@dataclass
class Running:
    """A stack, its driver, and the sessions that a test opened."""

    stack: Stack
    driver: Driver
    folder: Path
    opened: list[Session] = field(default_factory=list[Session])

    async def tenants(self, count: int = 1, cohort: str = "quiet") -> list[Tenant]:
        """New tenants that no other test knows."""
        prefix = f"t{next(_numbers)}"
        names = {f"{cohort}-{n}": cohort for n in range(count)}
        return list(await self.driver.provision(TenantPlan(names, prefix, seed=1)))

    async def connect(self, tenant: Tenant) -> Session:
        """A session that is closed when the test is over."""
        session = await self.driver.connect(tenant)
        self.opened.append(session)
        return session

    async def session(self, cohort: str = "quiet") -> tuple[Tenant, Session]:
        """A new tenant's session."""
        (tenant,) = await self.tenants(1, cohort)
        return tenant, await self.connect(tenant)

    @asynccontextmanager
    async def plant(self, names: Sequence[str]) -> AsyncGenerator[None]:
        """Hold these defects on, and no other, in every service that has the switch."""
        await self._switch(names)
        try:
            yield
        finally:
            await self._switch(())

    async def _switch(self, names: Sequence[str]) -> None:
        headers = {"X-Lab-Token": self.stack.site.variables["LAB_TOKEN"]}
        async with aiohttp.ClientSession(headers=headers) as http:
            for entrance in SWITCHES:
                where = self.stack.site.entrance(entrance)
                async with http.put(f"http://{where}/defects", json=list(names)) as response:
                    assert response.status == 200, f"{entrance}: {await response.text()}"

    async def logs(self) -> str:
        """The backend's log so far."""
        await self.stack.logs(self.folder)
        return (self.folder / "backend.log").read_text()

    async def close(self) -> None:
        """Close what the test opened."""
        while self.opened:
            await self.opened.pop().close()


DEADLINE_SECONDS = 3.0


async def ask(session: Session, action: Action, op: str, seconds: float = DEADLINE_SECONDS) -> str:
    """The reply's value, or the name of the error."""
    try:
        reply = await session.perform(action, op=op, deadline_seconds=seconds)
    except Refused as error:
        return f"refused {error}"
    except (RuntimeError, TimeoutError) as error:
        return f"unknown {error}"
    return str(reply.value)


@asynccontextmanager
async def raw_socket(running: Running, token: str) -> AsyncGenerator[ClientConnection]:
    """The platform's own protocol, without the driver."""
    where = running.stack.site.entrance("client", "quiet")
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(
        f"ws://{where}/ws", additional_headers=headers, compression=None, proxy=None
    ) as socket:
        yield socket


@dataclass
class Held:
    """What a test works with: `do` runs a coroutine function on the stack's loop."""

    running: Running
    portal: BlockingPortal

    def do(self, work: Callable[[Running], Awaitable[T]]) -> T:
        """Run the test's body, then close its sessions."""

        async def body() -> T:
            try:
                return await work(self.running)
            finally:
                await self.running.close()

        return self.portal.call(body)


def _unsaid(line: str) -> None:
    """Progress lines are for people."""


@asynccontextmanager
async def up(mode: str, defects: tuple[str, ...]) -> AsyncGenerator[Running]:
    """A stack and its driver."""
    system = load(SYSTEM)
    run = f"ref-test-{os.getpid()}-{next(_numbers)}"
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with standing(
            system, run=run, folder=folder, cohorts=COHORTS, mode=mode, defects=defects, say=_unsaid
        ) as stack:
            driver = stack.driver(load_driver(system.driver))(stack.site)
            try:
                yield Running(stack, driver, folder)
            finally:
                await driver.close()


@contextmanager
def held(mode: str = "process", defects: tuple[str, ...] = ()) -> Generator[Held]:
    """A stack for a module's fixture."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(up(mode, defects)) as running,
    ):
        yield Held(running, portal)


def run_once(environment: dict[str, str]) -> tuple[int, str]:
    """Start the backend alone, for a moment; its exit code and what it said."""
    variables = [word for pair in environment.items() for word in ("-e", "=".join(pair))]
    command = ["docker", "run", "--rm", "--network", "none", *variables, IMAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr
