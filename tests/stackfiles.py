"""Folders of a system under test, written from a text, and what is said of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.stack.file import load


def folder(path: Path, text: str) -> Path:
    """A system's folder with this stack file."""
    (path / "stack.yaml").write_text(text, encoding="utf-8")
    (path / "driver.py").write_text("def driver(site):\n    return site\n", encoding="utf-8")
    return path


def complaint(path: Path, text: str) -> str:
    """The one line in which this text is refused."""
    with pytest.raises(UsageError) as caught:
        load(folder(path, text))
    said = str(caught.value)
    assert "\n" not in said
    return said
