"""The README's tables are generated; this fails when they drifted from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.report.tables import TABLES, filled

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_the_readme_is_what_the_code_says() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == filled(text), "run `lab docs`"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_in_the_readme_and_has_rows(name: str) -> None:
    assert f"<!-- table: {name} -->" in README.read_text(encoding="utf-8")
    assert TABLES[name]().count("\n") > 2


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no table"):
        filled("<!-- table: nonsense -->\n<!-- end -->")
