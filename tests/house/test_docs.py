"""The documents' tables are generated; this fails when they drifted from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.report.tables import TABLES, filled

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_document_is_what_the_code_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == filled(text), "run `lab docs`"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_in_a_document_and_has_rows(name: str) -> None:
    slot = f"<!-- table: {name} -->"
    assert any(slot in path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert TABLES[name]().count("\n") > 2


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no table"):
        filled("<!-- table: nonsense -->\n<!-- end -->")
