"""What is made, in which order, and how a failure reads; the engine itself is in tests/docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.images import ensure as images
from lab.images.build import reason
from lab.images.ensure import Present
from lab.images.recipes import Recipe

PLAN = {
    "base": Recipe("base", Path("base"), public="debian", digest="b"),
    "python": Recipe("python", Path("python"), public="python", parents=("base",), digest="p"),
    "platform": Recipe("platform", Path("platform"), parents=("python",), digest="x"),
}
NOTHING: frozenset[str] = frozenset()


def test_parents_come_first_and_only_what_is_missing_is_made() -> None:
    assert images.missing(["platform"], PLAN, {}, NOTHING) == ("base", "python", "platform")
    here = {"python": Present("id", "p")}
    assert images.missing(["platform"], PLAN, here, NOTHING) == ("platform",)
    assert images.missing(["python"], PLAN, here, NOTHING) == ()


def test_a_pulled_image_needs_no_parents() -> None:
    pulled = frozenset({"python"})
    assert images.missing(["platform"], PLAN, {}, pulled) == ("python", "platform")


def test_an_image_made_from_something_else_is_made_again() -> None:
    here = {tag: Present("id", "old") for tag in PLAN}
    assert images.missing(["platform"], PLAN, here, NOTHING) == ("base", "python", "platform")


def test_an_image_without_our_label_is_taken_where_it_is_public_and_only_there() -> None:
    here = {tag: Present("id", "") for tag in PLAN}
    assert images.missing(["python"], PLAN, here, NOTHING) == ()
    assert images.missing(["platform"], PLAN, here, NOTHING) == ("platform",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Step 1\nE: no such package\nThe command '/bin/sh' returned 100\n", "E: no such package"),
        ("tar: write: No space left on device\nmore\n", "the disk is full"),
        ("", "exit status 7 without a word"),
    ],
)
def test_a_failed_build_is_told_in_the_words_of_its_step(
    tmp_path: Path, text: str, told: str
) -> None:
    log = tmp_path / "x.log"
    log.write_text(text)
    assert reason(log, 7) == told


def test_a_step_that_took_too_long_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("still busy\n")
    assert "took over" in reason(tmp_path / "x.log", 124)
