"""Rules about what must happen exactly once: credits, configurations, limited resources."""

from __future__ import annotations

import asyncio

from lab.actions import Claim, Edit, Spend
from lab.conformance.bench import COHORTS, Bench, Broken, rule
from lab.errors import Refused
from lab.system import Session

CONFIGURATION, VERSIONS = "assistant", range(4)
RESOURCE, CLAIMS_EACH, CLAIMERS = "seat", 16, 3


@rule(
    "credits are spent once, also when the operation is repeated",
    Spend,
    mend="Reply.value of a Spend is the balance after it; `op` is its idempotency key, so a second "
    "Spend under the same op moves nothing",
)
async def spent(bench: Bench) -> str:
    """Two spends of one credit, the first sent twice: the balance falls by one in between."""
    session = await bench.session()
    first = await _balance(bench, session, "check-spend-1")
    try:
        again = await _balance(bench, session, "check-spend-1")
    except Refused:
        again = first
    if again != first:
        raise Broken(f"the same op again: the balance was {first} and is {again}")
    second = await _balance(bench, session, "check-spend-2")
    if first - second != 1:
        raise Broken(f"one credit spent: the balance was {first} and is {second}")
    return f"balance {second}"


async def _balance(bench: Bench, session: Session, op: str) -> int:
    value = (await bench.ask(session, Spend(1), op)).value
    if value is None or not value.lstrip("-").isdecimal():
        raise Broken(f"Reply.value of a Spend is {value!r}, not a balance")
    return int(value)


@rule(
    "an edit on a stale version is refused",
    Edit,
    mend=f"every tenant has a configuration {CONFIGURATION!r} at a version below {len(VERSIONS)}; "
    "Reply.value of an Edit is the new version; raise Refused for a stale one",
)
async def edited(bench: Bench) -> str:
    """Edit at the version found, then again at the same one, then at the new one."""
    session = await bench.session()
    for version in VERSIONS:
        try:
            value = (await bench.ask(session, Edit(CONFIGURATION, version))).value
        except Refused:
            continue
        if not await bench.refused(session, Edit(CONFIGURATION, version)):
            raise Broken(f"two edits at version {version} were both accepted")
        if value is None or not value.isdecimal():
            raise Broken(f"Reply.value of an Edit is {value!r}, not a version")
        await bench.ask(session, Edit(CONFIGURATION, int(value)))
        return f"from version {version} to {value}"
    raise Broken(f"no version below {len(VERSIONS)} of {CONFIGURATION!r} can be edited")


@rule(
    "a limited resource is never given twice",
    Claim,
    mend=f"Reply.value of a Claim({RESOURCE!r}) names the unit that was given; raise Refused when "
    "none is left",
)
async def claimed(bench: Bench) -> str:
    """A tenant's sessions claim units side by side: every unit that is given is another one."""
    (tenant,) = await bench.tenants(COHORTS[0])
    sessions = [await bench.connect(tenant) for _ in range(CLAIMERS)]
    given: list[str | None] = []

    async def claim(session: Session) -> None:
        for _ in range(CLAIMS_EACH):
            try:
                given.append((await bench.ask(session, Claim(RESOURCE))).value)
            except Refused:
                return

    await asyncio.gather(*(claim(session) for session in sessions))
    if not given:
        raise Broken("not one unit is given")
    if len(set(given)) < len(given) or None in given:
        raise Broken(f"{len(given)} claims were granted {len(set(given))} different units")
    return f"{len(given)} units"


RULES = (spent, edited, claimed)
