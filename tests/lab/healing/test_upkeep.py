"""Which stacks a command may take away: the one that was named, or the only one, if it is mine."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from lab.errors import UsageError
from lab.healing import healer, upkeep


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine is asked, and nothing is removed."""

    async def cleared(run: str) -> tuple[str, ...]:
        return (f"container {run}",)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(upkeep, "cleared", cleared)


def down(
    kept: dict[str, str], monkeypatch: pytest.MonkeyPatch, run: str = "", *, everyone: bool = False
) -> tuple[str, ...]:
    """`lab down` where these stacks are kept up."""

    def kept_runs() -> dict[str, str]:
        return kept

    async def work() -> tuple[str, ...]:
        return await upkeep.take_down(run, everyone=everyone)

    monkeypatch.setattr(healer, "kept_runs", kept_runs)
    return anyio.run(work)


def mine(run: str) -> dict[str, str]:
    """A stack that was started here."""
    return {run: str(Path("runs", run).resolve())}


THEIRS = {"b": "/somebody/else/runs/b"}


def test_the_only_stack_is_taken_down_when_it_was_started_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert down(mine("a"), monkeypatch) == ("container a",)


def test_somebody_elses_stack_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"say which, or --all.*b of /somebody/else/runs"):
        down(THEIRS, monkeypatch)
    assert down(THEIRS, monkeypatch, "b") == ("container b",)


def test_of_several_one_has_to_be_named_or_all_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    both = mine("a") | THEIRS
    with pytest.raises(UsageError, match="2 stacks are kept up"):
        down(both, monkeypatch)
    assert down(both, monkeypatch, everyone=True) == ("container a", "container b")


def test_a_stack_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no kept stack 'c'"):
        down(mine("a"), monkeypatch, "c")
    with pytest.raises(UsageError, match="no stack is kept up"):
        down({}, monkeypatch)
