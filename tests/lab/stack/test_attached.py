"""Taking hold of a stack asks the engine for what it needs, and for no more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from lab.engine.api import Engine
from lab.engine.things import Standing
from lab.errors import UsageError
from lab.hands.real.links import ToxiproxyLinks
from lab.stack.attached import kept_boxes
from lab.stack.hands import hands
from lab.stack.layout import Layout
from lab.system import Endpoint


@dataclass
class Listing:
    """An engine that only lists, and tells what it was asked for."""

    boxes: tuple[Standing, ...]
    asked: list[str] = field(default_factory=list[str])

    def standing(self, run: str = "") -> tuple[Standing, ...]:
        """As the real one."""
        self.asked.append(run)
        return tuple(box for box in self.boxes if run in ("", box.run))


def box(run: str, service: str, kept: bool = True) -> Standing:
    return Standing(run, service, f"{run}-{service}", "up 3 minutes", kept)


THERE = (box("a", "app"), box("a", "toxiproxy"), box("ab", "app"), box("b", "app", kept=False))


def test_of_a_run_that_is_named_nothing_else_is_looked_at() -> None:
    engine = Listing(THERE)
    assert kept_boxes(cast("Engine", engine), "a") == THERE[:2]
    assert engine.asked == ["a"]


def test_without_a_name_it_is_the_newest_that_is_kept() -> None:
    assert kept_boxes(cast("Engine", Listing(THERE)), "") == (THERE[2],)


@pytest.mark.parametrize("run", ["b", "c"])
def test_who_names_a_run_that_is_not_kept_is_told_those_that_are(run: str) -> None:
    with pytest.raises(UsageError, match=f"no kept stack '{run}'") as refused:
        kept_boxes(cast("Engine", Listing(THERE)), run)
    assert "a, ab" in str(refused.value)


def test_to_have_hands_on_a_stack_asks_the_engine_nothing() -> None:
    links = ToxiproxyLinks(Endpoint("127.0.0.1", 1), ())
    ids = {"app": "1", "keeper": "2", "toxiproxy": "3"}
    lab = hands(cast("Engine", object()), links, ids, "a", Layout(proxies=()))
    links.close()
    assert lab.links is links
