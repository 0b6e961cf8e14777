"""The monitor on a real stack: whose readings they are, what is left behind, and who left it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import fail_after, sleep
from anyio.from_thread import BlockingPortal, start_blocking_portal

from benchmarks.leaks import (
    COHORTS,
    PLANTED_REST_SECONDS,
    WARM_SECONDS,
    WORK_SECONDS,
    performed,
)
from experiments.resource_leak import story
from lab.history import History
from lab.journal import Acted, Sampled
from lab.monitor import Kind, ResourceMonitor, Source
from lab.monitor.finding import Finder
from lab.stack.file import load
from lab.stack.standing import Stack, standing
from lab.verdict import Status, Verdict
from lab.verifiers import judge_all
from tests.docker.standing import ROOT, fresh_run

pytestmark = pytest.mark.docker
SYSTEM = load(ROOT / "compose" / "reference")
STORY = story(
    1, warm_seconds=WARM_SECONDS, work_seconds=WORK_SECONDS, rest_seconds=PLANTED_REST_SECONDS
)
PLANTED = ("tool_file_kept_open", "connection_leak")
AGAIN_SECONDS = 20.0


@dataclass(frozen=True)
class Stage:
    """A stack on a loop of its own."""

    stack: Stack
    portal: BlockingPortal
    folder: Path

    def run(self, number: int, *planted: str) -> History:
        """One run of the story."""
        work = (STORY, SYSTEM, self.stack, planted, number, self.folder / str(number))
        return self.portal.call(performed, *work)


@contextmanager
def held(folder: Path) -> Generator[Stage]:
    up = standing(SYSTEM, run=fresh_run(), folder=folder, cohorts=COHORTS, say=lambda _: None)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(up) as stack:
        yield Stage(stack, portal, folder)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    with held(tmp_path_factory.mktemp("monitor")) as stage:
        yield stage


@pytest.fixture(scope="module")
def leaky(stage: Stage) -> History:
    return stage.run(1, *PLANTED)


def leaks_of(seen: History) -> list[Verdict]:
    return [v for v in judge_all(STORY.verifiers, seen) if v.verifier == "leaks"]


def test_what_was_left_is_found_exactly_and_named(leaky: History) -> None:
    kept = leaks_of(leaky)[1]
    assert kept.status is Status.VIOLATED
    lines = [line for line in kept.evidence if line.startswith("descriptors: ")]
    assert lines
    assert all("agent of tools-0: /tmp/agent-" in line for line in lines)
    assert any(
        line.startswith("connections: server pid ") and "ROLLBACK, lent to" in line
        for line in kept.evidence
    )


def test_a_sound_run_is_never_called_leaking(stage: Stage) -> None:
    seen = stage.run(2)
    assert Status.VIOLATED not in {verdict.status for verdict in leaks_of(seen)}
    told = [e.reason for e in seen.of(Acted) if " leaks" in e.action or " exceeds " in e.action]
    assert not told


def test_every_kind_of_source_is_read_and_names_the_process_that_it_came_from(
    stage: Stage, leaky: History
) -> None:
    seen = leaky.resources
    assert {source.kind for source in seen.sources} == set(Kind)
    assert {source.container for source in seen.sources} <= set(stage.stack.start.ids.values())
    assert all(source.pid > 1 and source.started > 0 for source in seen.sources)
    assert os.getpid() not in {source.pid for source in seen.sources}
    for kind in (Kind.AGENT, Kind.SESSIONS, Kind.KEYS, Kind.METER):
        names = {source.name for source in seen.of(kind)}
        assert {"tools-0", "fresh-0", "control-0", "control-1"} <= names


def test_the_monitor_tells_what_it_cost(leaky: History) -> None:
    (cost,) = [e.values for e in leaky.of(Sampled) if e.probe == "monitor"]
    assert cost["readings"] == len(leaky.resources) > 1000
    assert 0 < cost["share"] < 0.1


def test_a_service_that_was_restarted_is_told_as_gone_and_found_again(stage: Stage) -> None:
    gone: list[Source] = []
    told: list[str] = []
    monitor = ResourceMonitor(per_second=20, on_gone=gone.append)
    finder = Finder(stage.stack.containers, {}, lambda what, why: told.append(why))
    monitor.attach(finder)

    async def there(but: Source | None = None) -> Source:
        with fail_after(AGAIN_SECONDS):
            while (source := finder.mains.get("llm")) in (None, but):  # noqa: ASYNC110 - as seen
                await sleep(0.05)
        assert source is not None
        return source

    async def restarted() -> tuple[Source, Source]:
        first = await there()
        await stage.stack.containers.stop("llm")
        await stage.stack.containers.start("llm")
        return first, await there(but=first)

    with monitor:
        first, second = stage.portal.call(restarted)
    assert first in gone
    assert (first.container, first.name) == (second.container, second.name)
    assert first.pid != second.pid
    assert not told
