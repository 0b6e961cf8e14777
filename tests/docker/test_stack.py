"""A system on the engine: it stands, it tells what went wrong, and nothing of it stays."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest

from lab.actions import List, Read, Work, Write
from lab.engine.api import engine
from lab.engine.belongings import residue
from lab.errors import LabError
from lab.hands import AgentProcess
from lab.stack.file import load
from lab.stack.standing import Stack, standing
from tests.docker.standing import fresh_run, held, two_sessions

pytestmark = pytest.mark.docker
PYTHON = "python:3.11-slim-bookworm"


def system(folder: Path, services: str, block: str = "") -> Path:
    """A folder with a system of these services."""
    text = f"services:\n{services}\nx-lab:\n  variables: [SECRET]\n{block}"
    (folder / "stack.yaml").write_text(text, encoding="utf-8")
    (folder / "driver.py").write_text("def driver(site):\n    return site\n")
    return folder


def failure(folder: Path, run: str) -> str:
    """What starting this system complains about."""

    async def start() -> None:
        async with standing(
            load(folder), run=run, folder=folder / "run", cohorts=(), say=lambda _: None
        ):
            pytest.fail("it stands")

    with pytest.raises(LabError) as caught:
        anyio.run(start)
    return str(caught.value)


def test_the_smallest_system_stands_serves_its_tenants_and_is_gone(tmp_path: Path) -> None:
    run = fresh_run()
    with held(tmp_path, run) as up:

        async def story() -> None:
            driver, calm, loud = await two_sessions(up.stack, "t1")
            await calm.perform(Write("k", "mine"), op="1", deadline_seconds=3)
            reply = await loud.perform(Read("k"), op="2", deadline_seconds=3)
            assert reply.value is None
            assert "mine" not in (await loud.perform(List(), op="3", deadline_seconds=3)).raw
            assert (await calm.perform(Read("k"), op="4", deadline_seconds=3)).value == "mine"
            await loud.perform(Work("cpu", 5), op="5", deadline_seconds=3)
            with pytest.raises(ConnectionError, match="no such request"):
                await calm.perform(Work("cpu", "much"), op="6", deadline_seconds=3)  # pyright: ignore[reportArgumentType]
            assert (await driver.census())["keys"] == ("tenant:t1-calm",)
            await calm.close()
            await loud.close()
            await driver.close()

        up.do(story)
        assert len(residue(run)) == 6
    assert residue(run) == ()


def test_everything_that_is_published_is_on_loopback(tmp_path: Path) -> None:
    run = fresh_run()
    with held(tmp_path, run) as up, engine() as client:
        for container in up.stack.start.ids.values():
            assert client.placed(container).hosts <= {"127.0.0.1"}
        assert client.placed(up.stack.start.ids["toxiproxy"]).hosts


def test_a_process_is_seen_with_its_start_time_and_only_it_is_killed(tmp_path: Path) -> None:
    service = f"  worker: {{image: '{PYTHON}', command: [sh, -c, 'sleep 301 & sleep 302 & wait']}}"
    block = "  abilities: [agents]\n  agents: {service: worker, argv: 'sleep {tenant}'}\n"

    async def story(up: Stack) -> None:
        agents = await up.containers.agents()
        while set(agents) != {"301", "302"}:
            agents = await up.containers.agents()
        assert 1 not in {agent.pid for agent in agents.values()}
        other = AgentProcess("worker", agents["302"].pid, agents["302"].started + 1)
        await up.containers.kill_process(other, signal.SIGKILL)
        await up.containers.kill_process(agents["301"], signal.SIGKILL)
        while "301" in (agents := await up.containers.agents()):
            pass
        assert set(agents) == {"302"}

    async def start() -> None:
        folder = system(tmp_path, service, block)
        stack = standing(
            load(folder), run=fresh_run(), folder=tmp_path / "run", cohorts=(), say=lambda _: None
        )
        async with stack as up:
            with anyio.fail_after(10):
                await story(up)
            await up.containers.kill("worker", signal.SIGKILL)
            while await up.containers.running("worker"):
                pass
            await up.containers.start("worker")
            assert await up.containers.running("worker")

    anyio.run(start)


def test_a_service_that_dies_is_told_with_its_last_words_and_no_secret(tmp_path: Path) -> None:
    run = fresh_run()
    command = "['sh', '-c', 'echo no database ${SECRET}; exit 3']"
    app = f"  app: {{image: '{PYTHON}', command: {command}, healthcheck: {{test: 'false'}}}}"
    said = failure(system(tmp_path, app), run)
    assert "service app" in said
    assert "no database <SECRET>" in said
    assert (tmp_path / "run" / "logs" / "app.log").read_text().strip() == "no database <SECRET>"
    assert residue(run) == ()


def test_a_missing_image_is_one_line_and_starts_nothing(tmp_path: Path) -> None:
    run = fresh_run()
    said = failure(system(tmp_path, "  app: {image: 'crosstalk/absent:1'}"), run)
    assert "the image crosstalk/absent:1 is not here" in said
    assert residue(run) == ()


@pytest.mark.parametrize("after_seconds", [0.0, 0.1, 0.3, 0.6])
def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path, after_seconds: float) -> None:
    run = fresh_run()
    never = f"  app: {{image: '{PYTHON}', command: sleep 60, healthcheck: {{test: 'false'}}}}"
    folder = load(system(tmp_path, never))

    async def start() -> None:
        with anyio.move_on_after(after_seconds) as scope:
            async with standing(
                folder, run=run, folder=tmp_path / "run", cohorts=(), say=lambda _: None
            ):
                pytest.fail("it stands")
        assert scope.cancelled_caught

    anyio.run(start)
    assert residue(run) == ()
