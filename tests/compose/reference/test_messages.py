# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Strict schemas: whatever comes in is a message or a documented problem, never anything else."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform.messages import Write, answer, error, message_id_of, parse
from reference_platform.problems import Problem

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


def message(**metadata: object) -> str:
    whole = {"tenant_id": "t1", "message_id": "m/1", **metadata}
    plain = {"type": "user_message", "content": "hi", "thread_id": "main", "user_id": "user"}
    return json.dumps({**plain, "metadata": whole})


@given(st.text(max_size=200) | json_values.map(json.dumps))
def test_anything_else_is_a_problem_and_never_another_exception(text: str) -> None:
    with pytest.raises(Problem, match="bad_message"):
        parse(text)


@given(json_values)
def test_any_action_is_understood_or_refused(action: object) -> None:
    with suppress(Problem):
        parse(message(action=action))


def test_a_message_of_the_required_shape_is_understood() -> None:
    parsed = parse(message(action={"kind": "write", "key": "k", "value": "v"}, extra="ignored"))
    assert parsed.metadata.action == Write(key="k", value="v")


def test_unknown_work_is_a_bad_action() -> None:
    with pytest.raises(Problem, match="bad_action"):
        parse(message(action={"kind": "work", "work": "magic", "amount_ms": 1}))


@given(st.text(max_size=60))
def test_an_id_that_is_found_without_decoding_can_stand_in_an_error(noise: str) -> None:
    found = message_id_of(f'{noise}"message_id": "{noise}"')
    reply = json.loads(error(found, Problem("rate_limited", retry_after_ms=7)))
    assert reply["message_id"] == found
    assert (reply["code"], reply["definite"], reply["retry_after_ms"]) == ("rate_limited", True, 7)


def test_an_answer_carries_the_ids_of_its_message() -> None:
    reply = json.loads(answer(parse(message()), "t1", "text", "value"))
    assert (reply["type"], reply["message_id"], reply["value"]) == ("agent_message", "m/1", "value")
    assert reply["metadata"] == {"tenant_id": "t1"}
