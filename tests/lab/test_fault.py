"""`applied` heals whatever happens, and says so in the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from faults.network import Down, Latency, Partition
from lab.errors import LabError, UsageError
from lab.fault import Fault, applied, settings
from lab.healing.undo import unhealed
from lab.journal import Healed, Injected, Injecting, Journal, read
from tests.fakes.stack import FakeLinks, fake_lab

FAULTS: list[Callable[[], Fault]] = [
    lambda: Latency("redis", 50, 10),
    lambda: Partition("redis"),
    lambda: Partition("redis", "to"),
    lambda: Down("postgres"),
]


@pytest.mark.parametrize("make", FAULTS)
def test_a_fault_is_in_place_for_the_body_and_gone_after_it(
    make: Callable[[], Fault], tmp_path: Path
) -> None:
    async def scene() -> None:
        lab, links, _ = fake_lab()
        with Journal(tmp_path) as journal:
            async with applied(make(), lab, journal, epoch_ns=0):
                assert not links.quiet
            assert links.quiet

    anyio.run(scene)
    assert [type(e) for e in read(tmp_path)] == [Injecting, Injected, Healed]


@pytest.mark.parametrize("make", FAULTS)
def test_a_fault_heals_even_when_cancelled(make: Callable[[], Fault], tmp_path: Path) -> None:
    async def scene() -> FakeLinks:
        lab, links, _ = fake_lab()
        with Journal(tmp_path) as journal, anyio.CancelScope() as scope:
            async with applied(make(), lab, journal, epoch_ns=0):
                scope.cancel()
                await anyio.sleep_forever()
        return links

    assert anyio.run(scene).quiet
    assert isinstance(read(tmp_path)[-1], Healed)


@pytest.mark.parametrize("make", FAULTS)
def test_healing_twice_or_without_injecting_is_fine(make: Callable[[], Fault]) -> None:
    async def scene() -> None:
        lab, links, _ = fake_lab()
        await make().heal(lab)
        await make().inject(lab)
        await make().heal(lab)
        await make().heal(lab)
        assert links.quiet

    anyio.run(scene)


@pytest.mark.parametrize("make", FAULTS)
def test_the_journal_rebuilds_the_fault(make: Callable[[], Fault]) -> None:
    fault = make()
    assert type(fault)(**settings(fault)) == fault


def test_a_heal_that_fails_is_an_error_of_the_lab_and_journalled(tmp_path: Path) -> None:
    async def scene() -> None:
        lab, links, _ = fake_lab()
        with Journal(tmp_path) as journal:
            async with applied(Down("redis"), lab, journal, epoch_ns=0):
                links.broken = True

    with pytest.raises(LabError, match="heal failed"):
        anyio.run(scene)
    healed = read(tmp_path)[-1]
    assert isinstance(healed, Healed)
    assert "control API" in healed.error


def test_a_fault_that_the_stack_has_nothing_for_is_refused_and_leaves_no_open_record(
    tmp_path: Path,
) -> None:
    class Lacking(FakeLinks):
        """Links of a stack that has none of the kind."""

        async def enable(self, link: str, enabled: bool) -> None:
            """Refused, whatever is asked."""
            raise UsageError("is not in the stack file", where=link)

    async def scene() -> None:
        lab = replace(fake_lab()[0], links=Lacking())
        with Journal(tmp_path) as journal:
            async with applied(Down("redis"), lab, journal, epoch_ns=0):
                pass

    with pytest.raises(UsageError, match="not in the stack file"):
        anyio.run(scene)
    assert unhealed(read(tmp_path)) == ()


def test_a_hand_that_refuses_to_heal_what_was_in_place_is_an_error_and_the_record_stays_open(
    tmp_path: Path,
) -> None:
    class Turning(FakeLinks):
        """Links that go away while a fault is on them."""

        async def enable(self, link: str, enabled: bool) -> None:
            """Refused at the heal."""
            if enabled:
                raise UsageError("is not in the stack file", where=link)

    async def scene() -> None:
        lab = replace(fake_lab()[0], links=Turning())
        with Journal(tmp_path) as journal:
            async with applied(Down("redis"), lab, journal, epoch_ns=0):
                pass

    with pytest.raises(LabError, match=r"heal failed: .*not in the stack file"):
        anyio.run(scene)
    assert len(unhealed(read(tmp_path))) == 1


def test_the_undo_record_is_written_before_the_act(tmp_path: Path) -> None:
    async def scene() -> None:
        lab, links, _ = fake_lab()
        links.broken = True
        with Journal(tmp_path) as journal:
            async with applied(Down("redis"), lab, journal, epoch_ns=0):
                pass

    with pytest.raises(LabError):
        anyio.run(scene)
    assert isinstance(read(tmp_path)[0], Injecting)
