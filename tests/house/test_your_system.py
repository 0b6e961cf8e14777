"""The guide to a system of one's own shows the smallest system as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import actions, catalog
from lab.system import Driver, Session

ROOT = Path(__file__).parents[2]
SMALLEST = ROOT / "compose" / "minimal"
GUIDE = (ROOT / "docs" / "your-system.md").read_text(encoding="utf-8")
EXCERPTS = re.findall(r"```(yaml|python)\n(.*?)```", GUIDE, re.DOTALL)
FILES = {"yaml": "stack.yaml", "python": "driver.py"}


@pytest.mark.parametrize(("language", "excerpt"), EXCERPTS)
def test_an_excerpt_is_in_the_file_word_for_word(language: str, excerpt: str) -> None:
    assert excerpt in (SMALLEST / FILES[language]).read_text(encoding="utf-8")


def test_the_guide_has_excerpts_of_both_files() -> None:
    assert {language for language, _ in EXCERPTS} == FILES.keys()


def test_every_action_and_every_method_is_in_the_guide() -> None:
    names = [kind.__name__ for kind in actions.Action.__args__]
    methods = [name for face in (Driver, Session) for name in vars(face) if name[0] != "_"]
    assert [name for name in names if f"`{name}(" not in GUIDE] == []
    assert [name for name in methods if f"`{name}" not in GUIDE] == []


def test_every_experiment_that_the_guide_runs_exists() -> None:
    named = set(re.findall(r"NAME=(\w+)", GUIDE))
    assert named
    assert named <= catalog.experiments().keys()
