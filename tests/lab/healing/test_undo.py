"""What is open in a journal, and what another process makes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from faults.network import Down, Latency
from lab.errors import LabError
from lab.fault import Fault, name_of, settings
from lab.healing import mending
from lab.healing.undo import rebuilt, under_way, undo, unhealed
from lab.journal import Event, Healed, Injected, Injecting, Journal, read, trim
from tests.fakes.stack import FakeContainers, FakeLinks, fake_lab, lab_of

SLOW, GONE = Latency("redis", 50), Down("postgres")


def begun(fault: Fault, at_ns: int = 0) -> Injecting:
    """A fault's undo record."""
    return Injecting(fault=name_of(fault), kind=fault.kind, settings=settings(fault), at_ns=at_ns)


def in_place(fault: Fault) -> Injected:
    """The line that follows once it is there."""
    return Injected(fault=name_of(fault), asked_ns=0, at_ns=1)


def healed(fault: Fault, error: str = "") -> Healed:
    """The line that closes it, or does not."""
    return Healed(fault=name_of(fault), asked_ns=2, at_ns=3, error=error)


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ((), ()),
        ((begun(SLOW),), (SLOW,)),
        ((begun(SLOW), in_place(SLOW), healed(SLOW)), ()),
        ((begun(SLOW), healed(SLOW, "no answer")), (SLOW,)),
        ((begun(SLOW), healed(SLOW, "no answer"), healed(SLOW)), ()),
        ((begun(SLOW), healed(SLOW), begun(SLOW)), (SLOW,)),
        ((begun(SLOW), begun(GONE)), (GONE, SLOW)),
        ((begun(SLOW), begun(GONE), healed(GONE)), (SLOW,)),
    ],
)
def test_a_record_is_open_until_a_heal_without_an_error_follows_it(
    events: tuple[Event, ...], left: tuple[Fault, ...]
) -> None:
    assert tuple(rebuilt(record) for record in unhealed(events)) == left


def test_an_injection_that_was_not_seen_to_end_is_under_way() -> None:
    events = (begun(SLOW), in_place(SLOW), begun(GONE))
    assert under_way(events) == (begun(GONE),)
    assert under_way((*events, healed(GONE))) == ()


def test_another_process_heals_what_the_journal_tells_of(tmp_path: Path) -> None:
    async def story() -> None:
        lab, links, _ = fake_lab()
        for fault in (SLOW, GONE):
            await fault.inject(lab)
        with Journal(tmp_path) as journal:
            for fault in (SLOW, GONE):
                journal.append(begun(fault), durable=True)
        assert await undo(lab, tmp_path, unhealed(read(tmp_path))) == (name_of(GONE), name_of(SLOW))
        assert links.quiet
        assert unhealed(read(tmp_path)) == ()

    anyio.run(story)


def test_one_heal_that_fails_keeps_no_other_from_being_done(tmp_path: Path) -> None:
    async def story() -> None:
        lab, links, _ = fake_lab()
        unknown = Injecting(fault="x on y", kind="no_such_kind", settings={}, at_ns=0)
        await SLOW.inject(lab)
        with pytest.raises(LabError, match="no fault 'no_such_kind' is known"):
            await undo(lab, tmp_path, (unknown, begun(SLOW)))
        assert links.quiet

    anyio.run(story)


def test_one_hand_that_refuses_ends_neither_the_healer_nor_the_heals_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links = FakeLinks()
    stack = SimpleNamespace(lab=lab_of(links, FakeContainers()))

    @asynccontextmanager
    async def attached(_: str) -> AsyncGenerator[SimpleNamespace]:
        yield stack

    monkeypatch.setattr(mending, "attached", attached)
    monkeypatch.setattr(mending, "_without_sidecars", lambda _run: ())  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(mending, "SETTLE_SECONDS", 0.01)
    unknown = Injecting(fault="x on y", kind="no_such_kind", settings={}, at_ns=0)
    nowhere = begun(Down("nowhere"))

    async def story() -> tuple[str, ...]:
        await SLOW.inject(stack.lab)
        return await mending.heal_again("run", (unknown, nowhere, begun(SLOW)))

    left = anyio.run(story)
    assert [each.partition(":")[0] for each in left] == ["x on y", nowhere.fault]
    assert links.quiet


def test_a_line_that_a_kill_cut_short_goes_before_the_next_one(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(begun(SLOW))
    with journal.path.open("ab") as file:
        file.write(b'{"type":"inj')
    trim(tmp_path)
    trim(tmp_path)
    assert journal.path.read_bytes().endswith(b"\n")
    assert read(tmp_path) == (begun(SLOW),)
