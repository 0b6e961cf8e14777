# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Keys, pauses, openings and the list of kinds: what can be told of them without a database."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform import defects, messages, once, tenant_tx

from .conftest import PLATFORM

SCHEMA = PLATFORM.parent / "postgres"


def asked(**changes: object) -> SimpleNamespace:
    user = changes.pop("user", "u")
    words = {"action": {"kind": "spend", "amount": 1}, "content": "", "thread_id": "main"}
    words |= changes
    metadata = {"tenant_id": "a", "message_id": "1", "action": words.pop("action")}
    message = {"type": "user_message", "user_id": "u", "metadata": metadata, **words}
    return SimpleNamespace(user=user, message=messages.parse(messages._encode(message).decode()))


def test_every_action_is_of_a_kind() -> None:
    kinds = re.findall(r"^    (\w+): Kind\(", (PLATFORM / "answering.py").read_text(), re.MULTILINE)
    assert sorted(kinds) == sorted(action.__name__ for action in get_args(messages.Action))


@pytest.mark.parametrize(
    "changes",
    [
        {"action": {"kind": "spend", "amount": 2}},
        {"content": "x"},
        {"thread_id": "b"},
        {"user": "another"},
    ],
)
def test_another_message_under_the_same_id_has_another_digest(changes: dict[str, object]) -> None:
    assert once.digest_of(asked()) == once.digest_of(asked())
    assert once.digest_of(asked()) != once.digest_of(asked(**changes))


def test_pauses_grow_are_bounded_and_differ_between_rivals() -> None:
    one, two = ([*itertools.islice(once._pauses(), 10)] for _ in range(2))
    assert one != two
    assert max(one + two) <= once.PAUSE_MAX_SECONDS
    assert min(one) >= once.PAUSE_SECONDS / 2
    assert one[-1] > 2 * one[0]


@given(st.text())
def test_an_opening_names_a_tenant_only_when_its_id_needs_no_quoting(tenant: str) -> None:
    connection = SimpleNamespace(settled=False)
    if re.fullmatch(r"[a-z0-9-]{1,40}", tenant):
        text = tenant_tx.begin(tenant, 1.0, connection, writes=False)
        assert text.startswith(f"BEGIN; SELECT set_config('app.tenant', '{tenant}', true);")
    else:
        with pytest.raises(ValueError, match="not a tenant id"):
            tenant_tx.begin(tenant, 1.0, connection, writes=False)


def test_the_server_s_limits_come_from_what_is_left_and_end_before_it() -> None:
    text = tenant_tx.begin("a", 0.5, SimpleNamespace(settled=False), writes=True)
    limits = dict(re.findall(r"SET LOCAL (\w+) = (\d+)", text))
    assert limits == {
        "statement_timeout": "400",
        "lock_timeout": "400",
        "idle_in_transaction_session_timeout": "1400",
    }


def test_the_schema_plants_what_the_catalogue_says_that_a_start_plants() -> None:
    text = (SCHEMA / "090-planted-defects.sql").read_text()
    named = set(re.findall(r"'(\w+)' = ANY \(planted\)", text))
    assert named == set(re.findall(r"\\if :(\w+)", text))
    known = defects.known()
    assert named <= {name for name, defect in known.items() if defect.get("at_start")}
