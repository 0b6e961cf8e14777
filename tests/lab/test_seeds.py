"""Named random streams."""

from __future__ import annotations

from lab.seeds import stream


def test_the_same_seed_and_name_give_the_same_stream() -> None:
    assert stream(7, "a", "b").random() == stream(7, "a", "b").random()


def test_streams_do_not_depend_on_each_other() -> None:
    assert stream(7, "a").random() != stream(7, "b").random()
    assert stream(7, "ab", "c").random() != stream(7, "a", "bc").random()
    assert stream(7, "a").random() != stream(8, "a").random()
