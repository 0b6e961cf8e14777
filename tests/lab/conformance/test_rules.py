"""A sound system passes every rule, and every rule can fail: each is broken once, on purpose."""

from __future__ import annotations

import asyncio

import pytest

from lab.actions import Action, Raw, Write
from lab.conformance import bench as benches
from lab.conformance import rules_stack
from lab.conformance.bench import Bench, Finding, difference, held
from lab.conformance.examine import RULES, exit_code, ruled
from lab.errors import ExitCode
from lab.system import Ability
from tests.fakes.memory import FRONT, WAY, MemoryDriver, MemorySystem

BROKEN = {
    "forgets the prefix": "tenants are made as planned, and twice does not collide",
    "cannot close": "a tenant connects, and its session closes",
    "loses writes": "a value that was written is read back",
    "no raw": "a value that was written is read back",
    "lists keys only": "a list shows what was written",
    "one tenant for all": "another tenant reads nothing of it",
    "mumbles": "nothing is overheard in peace",
    "refuses work": "work is done",
    "dies of garbage": "garbage does no harm",
    "spends twice": "credits are spent once, also when the operation is repeated",
    "last writer wins": "an edit on a stale version is refused",
    "gives one seat twice": "a limited resource is never given twice",
    "deaf to its deadline": "a deadline is kept while nobody answers",
    "one entrance for all": "each cohort goes in by its own entrance",
    "leaves rows": "nothing is left of a tenant that said goodbye",
    "counts nothing": "nothing is left of a tenant that said goodbye",
    "forgets who broke off": "nothing is left of a tenant whose connection broke",
    "tidies up at retire only": "nothing is left of a tenant whose connection broke",
    "retires once only": "a tenant can be retired twice",
    "mixes up answers": "many actions at once each get their own answer",
}
"""What a system does wrongly -> the rule that has to see it."""


class Mixer(MemoryDriver):
    """Gives the answer to whoever asked last."""

    async def connect(self, tenant: benches.Tenant) -> benches.Session:
        """See Driver."""
        session = await super().connect(tenant)
        latest: list[Action] = []
        plain = session.perform

        async def mixed(action: Action, *, op: str, deadline_seconds: float) -> benches.Reply:
            latest.append(action)
            await asyncio.sleep(0)
            return await plain(latest[-1], op=op, deadline_seconds=deadline_seconds)

        session.perform = mixed
        return session


def bench(broken: str = "") -> Bench:
    system = MemorySystem(broken)
    driver = (Mixer if broken == "mixes up answers" else MemoryDriver)(system)
    able = {Ability.CENSUS}
    return Bench(driver, system.links, system.containers, able, fronts=[FRONT], ways=[WAY])


def findings(made: Bench) -> list[Finding]:
    async def story() -> list[Finding]:
        return [await held(each, made) for each in RULES]

    return asyncio.run(story())


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(rules_stack, "SHORT_SECONDS", 0.05)
    monkeypatch.setattr(rules_stack, "GRACE_SECONDS", 0.2)


def test_a_sound_system_passes_every_rule_and_is_left_as_it_was() -> None:
    sound = bench()
    found = findings(sound)
    assert [str(each) for each in found if each.status != "ok"] == []
    assert exit_code(tuple(found)) is ExitCode.HELD
    assert not asyncio.run(sound.driver.census())["rows"]


def test_every_rule_is_broken_by_something() -> None:
    assert set(BROKEN.values()) == {each.name for each in RULES}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_system_fails_the_rule_that_it_breaks(broken: str) -> None:
    found = {each.check: each for each in findings(bench(broken))}
    assert found[BROKEN[broken]].status == "bad"
    assert found[BROKEN[broken]].mend
    assert exit_code(tuple(found.values())) is ExitCode.VIOLATED


def test_a_rule_about_an_action_that_nobody_claims_is_skipped_and_proves_nothing() -> None:
    made = bench()
    made.driver = MemoryDriver(MemorySystem(), actions=frozenset({Write}))
    made.abilities = ()
    found = {each.check: each for each in findings(made)}
    skipped = found["credits are spent once, also when the operation is repeated"]
    assert (skipped.status, skipped.detail) == ("skipped", "the driver does not claim spend")
    assert exit_code((skipped,)) is ExitCode.UNKNOWN


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("a deadline is kept while nobody answers", "fronts"),
        ("each cohort goes in by its own entrance", "ways"),
    ],
)
def test_a_rule_that_has_nothing_to_try_is_skipped_not_passed(name: str, lacks: str) -> None:
    made = bench()
    setattr(made, lacks, ())
    assert {each.check: each.status for each in findings(made)}[name] == "skipped"


def test_a_driver_without_actions_proves_neither_deadline_nor_entrance_nor_garbage() -> None:
    made = bench()
    made.driver = MemoryDriver(MemorySystem("one entrance for all"), actions=frozenset({Raw}))
    skipped = {each.check for each in findings(made) if each.status == "skipped"}
    assert {
        "a deadline is kept while nobody answers",
        "each cohort goes in by its own entrance",
        "garbage does no harm",
    } <= skipped


def test_without_a_tenant_inside_nothing_else_is_tried() -> None:
    found: list[Finding] = []
    asyncio.run(ruled(bench("cannot close"), found.append))
    assert [each.status for each in found[:2]] == ["ok", "bad"]
    assert {each.status for each in found[2:]} == {"skipped"}
    assert len(found) == len(RULES)


def test_a_census_differs_by_what_came_and_went() -> None:
    assert difference({"rows": ("a",)}, {"rows": ("b",), "keys": ("k",)}) == [
        "+keys k",
        "+rows b",
        "-rows a",
    ]
