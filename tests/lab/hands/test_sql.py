"""Words of SQL, whatever stands in them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from lab.hands.sql import literal


@given(st.text())
def test_a_literal_can_be_read_back_whatever_stands_in_it(text: str) -> None:
    inside = literal(text)[1:-1]
    assert inside.replace("''", "'") == text
    assert not re.search(r"(?<!')'(?:'')*(?!')", inside)
