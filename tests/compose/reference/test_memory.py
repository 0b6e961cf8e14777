# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""An agent's memory: the newest row wins whatever the order, and a foreign owner is never read."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform.memory import (
    HISTORY_LENGTH,
    MEMORY_CHARACTERS,
    MEMORY_KEYS,
    PREFERENCE,
    PREFERENCE_KEYS,
    State,
    key_of,
    merge,
    owner_of,
    packed,
    rebuilt,
    unpacked,
)  # fmt: skip
from reference_platform.problems import Problem

rows = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from(["x", "y", None]), st.text(max_size=5)),
    max_size=30, unique_by=lambda row: row[0],
)  # fmt: skip


@given(rows, st.randoms(use_true_random=False))
def test_the_order_in_which_rows_arrive_does_not_matter(
    told: list[tuple[int, str | None, str]], random: Random
) -> None:
    state, shuffled = State({}, {}, []), list(told)
    random.shuffle(shuffled)
    for seq, key, value in shuffled:
        merge(state, key=key, value=value, seq=seq)
    again = rebuilt(7, told)
    assert (state.memory, state.history) == (again.memory, again.history)
    assert (again.epoch, again.version, again.stamp) == (7, 0, b"")
    for key in {key for _, key, _ in told if key}:
        assert state.memory[key] == max((seq, value) for seq, k, value in told if k == key)
    assert [seq for seq, _ in state.history] == sorted(seq for seq, _, _ in told)[-HISTORY_LENGTH:]


def test_a_row_that_is_told_twice_is_remembered_once() -> None:
    state = State({}, {}, [])
    for _ in range(2):
        merge(state, key=None, value="hello", seq=1)
    assert state.history == [(1, "hello")]


def test_memory_preferences_and_history_are_bounded() -> None:
    state = State({}, {}, [])
    for n in range(500):
        merge(state, key=f"k{n}", value="v", seq=n)
        merge(state, key=f"{PREFERENCE}{n}", value="v", seq=1000 + n)
    assert len(state.memory) == MEMORY_KEYS
    assert len(state.preferences) == PREFERENCE_KEYS
    assert len(state.history) == HISTORY_LENGTH
    for n in range(50):
        merge(state, key=f"large{n}", value="v" * 8192, seq=2000 + n)
    assert sum(len(k) + len(v) for k, (_, v) in state.memory.items()) <= MEMORY_CHARACTERS
    assert len(packed(state, "t.u")) < 2 * MEMORY_CHARACTERS


def test_what_is_packed_comes_back_with_the_next_version() -> None:
    state = State({}, {}, [], epoch=3)
    merge(state, key="k", value="v", seq=1)
    merge(state, key="preference/tone", value="short", seq=2)
    back = unpacked(packed(state, "t1.user"), "t1.user")
    assert (back.memory, back.preferences) == ({"k": (1, "v")}, {"preference/tone": (2, "short")})
    assert (back.epoch, back.version, back.stamp) == (3, 1, b"3 1")


def test_a_value_with_a_foreign_owner_is_a_problem() -> None:
    with pytest.raises(Problem):
        unpacked(packed(State({}, {}, []), "t12.user"), "t1.user")


def test_keys_are_told_apart_by_their_delimiter() -> None:
    assert key_of(owner_of("t1", "user")) == "agent_state:t1.user"
