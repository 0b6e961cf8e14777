"""A planted leak is found and located, however large the history; no evidence, no HELD."""

from __future__ import annotations

from base64 import b64encode
from binascii import hexlify
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.canary import mint
from lab.history import History, Op, Outcome
from lab.journal import Event, Sampled
from lab.verdict import Status
from lab.verifiers.isolation import no_foreign_canaries
from tests.histories import canary, op, opened, tenants, told

WHO = tuple(f"quiet-{n}" for n in range(5))
HELD, UNKNOWN, VIOLATED = Status.HELD, Status.UNKNOWN, Status.VIOLATED


def reads(count: int, *, info: float = 0.0, seed: int = 1) -> list[Op]:
    """Tenants in turn read a value of their own, wrapped in JSON; some never got an answer."""
    rng = Random(seed)
    made: list[Op] = []
    for n in range(count):
        tenant = WHO[n % len(WHO)]
        if rng.random() < info:
            made.append(op(tenant, due=n / 100, outcome=Outcome.INFO, error="timeout"))
        else:
            text = f'{{"value":"{canary(tenant, serial=n)}","at":{n}}}'
            made.append(op(tenant, due=n / 100, received=text))
    return made


def with_text(ops: list[Op], at: int, text: str) -> list[Op]:
    """The same operations, one of which brought `text` besides."""
    old = ops[at]
    new = op(
        old.tenant,
        due=old.due_ns / 1e9,
        received=old.received + text,
        outcome=old.outcome,
        error=old.error,
    )
    return [*ops[:at], new, *ops[at + 1 :]]


def run(ops: list[Op], *events: Event) -> History:
    return told(ops, tenants(*WHO), *events)


def test_tenants_who_see_only_their_own_are_isolated() -> None:
    verdict = no_foreign_canaries()(run(reads(500)))
    assert verdict.status is HELD
    assert verdict.exposures["reads"] == 500
    assert verdict.exposures["own_canaries"] == 500
    assert verdict.exposures["tenants_who_saw_their_own"] == 5


@pytest.mark.parametrize("info", [0.0, 0.01, 0.05])
def test_one_leak_in_a_large_history_is_found_and_located(info: float) -> None:
    ops = reads(20_000, info=info)
    at = 13_337 - 13_337 % 5  # an operation of quiet-0
    leaked = with_text(ops, at, f"... {canary('quiet-3', 'note-5', 77)}")
    verdict = no_foreign_canaries()(run(leaked))
    assert verdict.status is VIOLATED
    assert verdict.measured["leaks"] == 1
    assert len(verdict.evidence) == 1
    for part in (leaked[at].id, "t3-quiet-3", "note-5", "#77", "t3-quiet-0"):
        assert part in verdict.evidence[0]
    assert no_foreign_canaries()(run(ops)).status is HELD


@pytest.mark.parametrize("encode", [b64encode, hexlify])
def test_an_encoded_leak_is_a_leak(encode: Callable[[bytes], bytes]) -> None:
    text = encode(b"{" + canary("quiet-3").encode() + b"}").decode()
    assert no_foreign_canaries()(run(with_text(reads(500), 10, text))).status is VIOLATED


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INFO])
def test_a_leak_in_the_words_of_an_error_is_a_leak(outcome: Outcome) -> None:
    leak = op("quiet-0", outcome=outcome, error="refused", received=f"no: {canary('quiet-1')}")
    assert no_foreign_canaries()(run([*reads(500), leak])).status is VIOLATED


def test_a_name_that_is_the_end_of_another_does_not_hide_a_leak() -> None:
    ops = [
        op(who, due=n / 10, received=canary(who, serial=n))
        for n in range(100)
        for who in ("a-1", "x-a-1")
    ]
    leak = op("a-1", received=canary("x-a-1"))
    ids = tenants("a-1", "x-a-1")
    assert no_foreign_canaries()(told(ops, ids)).status is HELD
    assert no_foreign_canaries()(told([*ops, leak], ids)).status is VIOLATED


def test_a_canary_in_a_log_is_a_leak_and_one_in_a_census_is_not() -> None:
    text = (f"GET /x?value={canary('quiet-1')}",)
    logged = Sampled(probe="logs backend", at_ns=1, items={"backend": text})
    counted = Sampled(probe="census after", at_ns=1, items={"rows": text})
    of_own = Sampled(probe="logs", at_ns=1, items={"quiet-1": text})
    assert no_foreign_canaries()(run(reads(500), of_own)).status is VIOLATED
    assert no_foreign_canaries()(run(reads(500), logged)).status is VIOLATED
    assert no_foreign_canaries()(run(reads(500), counted)).status is HELD


def test_a_probe_of_what_one_tenant_sees_is_scanned_as_its_reading() -> None:
    own = Sampled(probe="memory", at_ns=1, items={"quiet-1": (canary("quiet-1"),)})
    foreign = replace_items(own, {"quiet-2": (canary("quiet-1"),)})
    assert no_foreign_canaries()(run(reads(500), own)).status is HELD
    assert no_foreign_canaries()(run(reads(500), foreign)).status is VIOLATED


def replace_items(sample: Sampled, items: dict[str, tuple[str, ...]]) -> Sampled:
    return Sampled(probe=sample.probe, at_ns=sample.at_ns, items=items)


def test_a_damaged_canary_that_names_another_is_a_leak_and_one_that_names_nobody_is_unknown() -> (
    None
):
    ops = reads(500)
    damaged, torn = canary("quiet-3")[:-5], canary("quiet-3")[:8]
    assert no_foreign_canaries()(run(with_text(ops, 10, damaged + "!"))).status is VIOLATED
    assert no_foreign_canaries()(run(with_text(ops, 10, torn + "!"))).status is UNKNOWN
    own = canary(ops[10].tenant)[:-5]
    verdict = no_foreign_canaries()(run(with_text(ops, 10, own + "!")))
    assert (verdict.status, verdict.measured["damaged_own"]) == (HELD, 1)


def test_data_of_an_earlier_run_is_a_leak() -> None:
    old = mint(b"another key", "t1-quiet-0", "note-1", 1)
    assert no_foreign_canaries()(run(with_text(reads(500), 0, old))).status is VIOLATED


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (run(reads(99)), "99 reads"),
        (run([op(WHO[n % 5], received="{}") for n in range(500)]), "0 tenants saw"),
        (run([op("quiet-0", received=canary("quiet-0")) for _ in range(500)]), "1 tenants saw"),
        (told(reads(500)), "ids"),
        (run([]), "0 reads"),
    ],
)
def test_too_little_seen_is_unknown(history: History, reason: str) -> None:
    verdict = no_foreign_canaries()(history)
    assert verdict.status is UNKNOWN
    assert reason in verdict.reason


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(100, 400), st.booleans())
def test_dropping_and_permuting_never_makes_a_leak_and_a_leak_stays_one(
    seed: int, keep: int, leaking: bool
) -> None:
    rng = Random(seed)
    ops = rng.sample(reads(400, info=0.05, seed=seed), keep)
    if leaking:
        ops = with_text(ops, 0, canary("quiet-9"))
    status = no_foreign_canaries(reads_min=50)(run(ops)).status
    assert status is (VIOLATED if leaking else HELD)


@settings(max_examples=20, deadline=None)
@given(st.permutations(WHO), st.booleans())
def test_renaming_the_tenants_changes_nothing(names: list[str], leaking: bool) -> None:
    ops = with_text(reads(300), 7, canary("quiet-4")) if leaking else reads(300)
    called = dict(zip(WHO, names, strict=True))
    renamed = [
        op(called[o.tenant], due=o.due_ns / 1e9, received=o.received, outcome=o.outcome)
        for o in ops
    ]
    ids = Sampled(probe="tenants", at_ns=0, items={called[w]: (f"t3-{w}",) for w in WHO})
    before = no_foreign_canaries()(run(ops))
    after = no_foreign_canaries()(told(renamed, ids))
    assert before.status is after.status
    assert before.measured == after.measured
    assert before.exposures == after.exposures


def test_the_key_comes_from_the_journals_first_line() -> None:
    history = run(reads(500))
    other = replace(history, events=(opened(seed=99), *history.events[1:]))
    assert no_foreign_canaries()(other).exposures["own_canaries"] == 0


def test_text_that_no_reply_had_is_scanned_too() -> None:
    stray = op("quiet-1", action="overheard", phase="", received=canary("quiet-2"))
    verdict = no_foreign_canaries()(run([*reads(500), stray]))
    assert verdict.status is VIOLATED
    assert "quiet-2" in verdict.evidence[0]


def test_echoes_of_writes_are_no_reads() -> None:
    echoes = [
        op(t, due=n / 100, action="write", received=canary(t)) for n, t in enumerate(WHO * 99)
    ]
    assert no_foreign_canaries()(run(echoes)).status is UNKNOWN
