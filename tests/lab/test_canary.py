"""A canary survives every usual escaping, tells its owner, and cannot be made up."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.canary import PREFIX, Found, mint, owner, run_key, scan

KEY = run_key(1, "canaries")
TENANTS = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)
OBJECTS = st.text(max_size=15)
SERIALS = st.integers(0, 10**18 - 1)
CANARY = mint(KEY, "t3-quiet-0", "note-7", 42)


@given(TENANTS, OBJECTS, SERIALS)
def test_a_canary_tells_its_tenant_object_and_serial(tenant: str, name: str, serial: int) -> None:
    text = mint(KEY, tenant, name, serial)
    assert text.isascii()
    assert text.isalnum()
    assert owner(KEY, text) == tenant
    assert scan(KEY, text) == (Found(tenant, name, serial, "text", True, 0),)


@given(TENANTS, OBJECTS, SERIALS, st.binary(max_size=20), st.binary(max_size=20))
def test_a_canary_is_found_in_base64_at_any_alignment(
    tenant: str, name: str, serial: int, before: bytes, after: bytes
) -> None:
    raw = before + mint(KEY, tenant, name, serial).encode() + after
    for encoded in (b64encode(raw), urlsafe_b64encode(raw), urlsafe_b64encode(raw).rstrip(b"=")):
        found = [f for f in scan(KEY, f'{{"blob":"{encoded.decode()}"}}') if f.sound]
        assert [(f.tenant, f.object, f.serial, f.form) for f in found] == [
            (tenant, name, serial, "base64")
        ]


@pytest.mark.parametrize("spell", [str.lower, str.upper])
def test_a_canary_is_found_in_hexadecimal(spell: type[str]) -> None:
    text = "x=" + spell((b"ab" + CANARY.encode() + b"cd").hex())
    assert [(f.tenant, f.form, f.sound) for f in scan(KEY, text)] == [("t3-quiet-0", "hex", True)]


@pytest.mark.parametrize("escaped", [json.dumps(CANARY), quote(f"a b&{CANARY}?"), escape(CANARY)])
def test_escaping_leaves_a_canary_as_it_is(escaped: str) -> None:
    assert [f.tenant for f in scan(KEY, escaped)] == ["t3-quiet-0"]


def test_canaries_without_anything_between_them_are_all_found() -> None:
    others = [mint(KEY, f"t{n}", "k", n) for n in range(3)]
    found = scan(KEY, "zz9" + "".join(others) + "Zz")
    assert [f.tenant for f in found] == ["t0", "t1", "t2"]
    assert all(f.sound for f in found)


@given(st.integers(0, len(CANARY) - 1), st.sampled_from("abyz0239AZ"))
def test_a_changed_canary_is_never_sound(at: int, letter: str) -> None:
    forged = CANARY[:at] + letter + CANARY[at + 1 :]
    if forged != CANARY:
        assert owner(KEY, forged) is None
        assert not any(f.sound for f in scan(KEY, forged))


@given(st.integers(0, len(CANARY) - 1))
def test_a_torn_canary_is_reported_as_damaged_and_never_under_another_name(end: int) -> None:
    for found in scan(KEY, f'"{CANARY[:end]}..."'):
        assert not found.sound
        assert found.tenant in {"", "t3-quiet-0"}


def test_a_torn_canary_still_names_its_tenant_once_the_name_is_whole() -> None:
    end = len(f"{PREFIX}t3ZquietZ0X")
    assert [f.tenant for f in scan(KEY, CANARY[:end])] == ["t3-quiet-0"]


def test_a_canary_of_another_run_is_damaged_and_still_names_its_tenant() -> None:
    found = scan(run_key(2, "canaries"), CANARY)
    assert [(f.tenant, f.sound) for f in found] == [("t3-quiet-0", False)]


@given(st.text(max_size=300))
@settings(max_examples=300)
def test_text_without_a_canary_holds_none(text: str) -> None:
    assert not any(f.sound for f in scan(KEY, text))


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_canary_is_found_where_it_stands(before: str, after: str) -> None:
    text = before + CANARY + after
    assert [text[f.at : f.at + len(CANARY)] for f in scan(KEY, text) if f.sound] == [CANARY]


def test_keys_differ_by_seed_and_by_experiment() -> None:
    assert len({run_key(1, "a"), run_key(2, "a"), run_key(1, "b")}) == 3


@pytest.mark.parametrize(
    ("tenant", "name", "serial"),
    [("", "k", 0), ("A", "k", 0), ("a" * 41, "k", 0), ("a", "k" * 61, 0), ("a", "k", -1)],
)
def test_what_could_not_be_read_back_is_not_minted(tenant: str, name: str, serial: int) -> None:
    with pytest.raises(ValueError, match=r"tenant|object|serial"):
        mint(KEY, tenant, name, serial)
