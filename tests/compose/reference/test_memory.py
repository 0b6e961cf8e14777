# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""An agent's memory: the newest row wins whatever the order, and a foreign owner is never read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform.memory import MEMORY_KEYS, State, key_of, merge, packed, unpacked
from reference_platform.problems import Problem

rows = st.lists(st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 50)), max_size=30)


@given(rows)
def test_the_row_with_the_highest_number_wins_in_any_order(writes: list[tuple[str, int]]) -> None:
    state = State()
    for key, seq in writes:
        merge(state, key=key, value=str(seq), seq=seq, note="n")
    for key in {key for key, _ in writes}:
        highest = max(seq for k, seq in writes if k == key)
        assert state.memory[key] == (highest, str(highest))


def test_memory_is_bounded() -> None:
    state = State()
    for n in range(500):
        merge(state, key=f"k{n}", value="v", seq=n, note=str(n))
    assert len(state.memory) == MEMORY_KEYS
    assert len(state.history) == 10


def test_what_is_packed_comes_back_with_the_next_version() -> None:
    state = State()
    merge(state, key="k", value="v", seq=1, note="n")
    back = unpacked(packed(state, "t1.user"), "t1.user")
    assert (back.memory, back.version) == ({"k": (1, "v")}, 1)


def test_a_value_with_a_foreign_owner_is_a_problem() -> None:
    with pytest.raises(Problem):
        unpacked(packed(State(), "t12.user"), "t1.user")


def test_keys_are_told_apart_by_their_delimiter() -> None:
    assert key_of("t1", "user") == "agent_state:t1.user"
