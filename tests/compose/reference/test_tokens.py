# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""Tokens and tickets: what a sound verifier takes, what it does not, and what a ticket is worth."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_platform import passwords, tickets, tokens

KEY, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
ACCOUNT = tokens.Account(tenant="t1", user="user", email="t1@tenants.test", role="user")
SESSION = "0" * 32
# As long as a token may live: it is made when tests are collected, which can be long before.
GOOD, EXPIRES = tokens.issue(KEY, ACCOUNT, SESSION, 3600)


def test_a_token_speaks_for_its_tenant_user_and_session() -> None:
    who = tokens.verify(KEY, GOOD)
    assert dataclasses.astuple(who) == ("t1", "user", SESSION, EXPIRES)


def test_two_tokens_of_one_session_have_ids_of_their_own() -> None:
    assert tokens.issue(KEY, ACCOUNT, SESSION, 300)[0] != GOOD


def test_a_token_of_another_key_is_none() -> None:
    with pytest.raises(tokens.TokenError):
        tokens.verify(OTHER, GOOD)


@given(st.integers(0, len(GOOD) - 1), st.characters(exclude_categories=["Cs"]))
def test_no_changed_character_leaves_a_token_that_says_something_else(at: int, new: str) -> None:
    """The last character of each part has bits that base64 does not use; they may differ."""
    changed = GOOD[:at] + new + GOOD[at + 1 :]
    try:
        who = tokens.verify(KEY, changed)
    except tokens.TokenError:
        return
    assert who == tokens.verify(KEY, GOOD)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_anything_else_is_no_token_and_no_other_exception(text: str) -> None:
    with pytest.raises(tokens.TokenError):
        tokens.verify(KEY, text)


def test_the_backends_own_token_opens_no_tenants_door_and_the_other_way_round() -> None:
    with pytest.raises(tokens.TokenError):
        tokens.verify(KEY, tokens.issue_service(KEY))
    with pytest.raises(tokens.TokenError):
        tokens.verify_service(KEY, GOOD)
    tokens.verify_service(KEY, tokens.issue_service(KEY))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "token"])
def test_a_header_without_a_bearer_token_is_refused(header: str | None) -> None:
    with pytest.raises(tokens.TokenError):
        tokens.bearer(header)


def test_a_ticket_is_worth_one_token_once() -> None:
    held = tickets.Tickets()
    ticket = held.give("token", ("a", "u"))
    assert len(ticket) == 32
    assert [held.redeem(ticket), held.redeem(ticket), held.redeem("x")] == ["token", None, None]


def test_a_late_ticket_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held = tickets.Tickets()
    ticket = held.give("token", ("a", "u"))
    late = tickets.time.monotonic() + tickets.LIFE_SECONDS + 1
    monkeypatch.setattr(tickets.time, "monotonic", lambda: late)
    assert held.redeem(ticket) is None


def test_the_oldest_tickets_are_forgotten_when_there_are_too_many() -> None:
    held = tickets.Tickets()
    first = held.give("first", ("a", "u"))
    last = [held.give("token", ("b", f"{n}")) for n in range(tickets.KEPT)][-1]
    assert (held.redeem(first), held.redeem(last)) == (None, "token")


def test_a_user_who_asks_for_too_many_tickets_loses_its_own_oldest_and_nobody_elses() -> None:
    held = tickets.Tickets()
    other = held.give("other", ("a", "other"))
    mine = [held.give("mine", ("a", "u")) for _ in range(tickets.KEPT + 1)]
    kept = [ticket for ticket in mine if held.redeem(ticket)]
    assert kept == mine[-tickets.KEPT_OF_USER :]
    assert held.redeem(other) == "other"
    assert (held._open, held._of) == ({}, {})


def test_late_tickets_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    held = tickets.Tickets()
    for n in range(100):
        held.give("token", ("a", f"{n}"))
    late = tickets.time.monotonic() + tickets.LIFE_SECONDS + 1
    monkeypatch.setattr(tickets.time, "monotonic", lambda: late)
    held.give("token", ("a", "u"))
    assert len(held._open) == len(held._of) == 1


@given(st.text(max_size=40))
def test_a_password_matches_its_own_hash_and_no_other(password: str) -> None:
    stored = passwords.hashed(password)
    assert passwords.matches(password, stored)
    assert not passwords.matches(password + "x", stored)
    assert not passwords.matches(password, passwords.NOBODY)
