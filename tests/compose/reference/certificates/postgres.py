"""Certificates of the defects in row level security, in what is shared, and in clean-up."""

from __future__ import annotations

import asyncio
import json

import asyncpg

from lab.actions import Claim, List, Write
from lab.system import Session, Tenant
from tests.compose.reference.certificates import Probe, certificate
from tests.compose.reference.database import app, locked, superuser, waiting
from tests.compose.reference.speech import told
from tests.compose.reference.stacks import Running, ask, eventually

TRIES = 5
"""A list may meet another connection than the one before it did; the pool hands out the latest."""


WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
AS_TENANT = "SELECT set_config('app.tenant', $1, true)"
EVERYTHING = "SELECT content FROM recent_messages"
CAUSES = {
    "table_without_rls":
        "SELECT NOT relrowsecurity FROM pg_class WHERE oid = 'messages'::regclass",
    "owner_without_force":
        "SELECT relowner = 'app'::regrole AND NOT relforcerowsecurity FROM pg_class "
        "WHERE oid = 'messages'::regclass",
    "app_bypasses_rls": "SELECT rolbypassrls FROM pg_roles WHERE rolname = 'app'",
    "policy_escape":
        "SELECT qual LIKE '% OR %' FROM pg_policies "
        "WHERE tablename = 'messages' AND policyname = 'own_rows'",
    "permissive_policy": "SELECT count(*) > 1 FROM pg_policies "
        "WHERE tablename = 'messages' AND 'app' = ANY (roles)",
    "definer_function":
        "SELECT bool_or(prosecdef) FROM pg_proc "
        "WHERE proname = 'recent' AND pronamespace = 'public'::regnamespace",
    "view_with_owner_rights":
        "SELECT NOT coalesce('security_invoker=true' = ANY (reloptions), false) FROM pg_class "
        "WHERE oid = 'recent_messages'::regclass",
}  # fmt: skip
"""What each mistake in the schema looks like in the catalogue of the database."""
Pair = tuple[tuple[Tenant, Session], tuple[Tenant, Session]]


async def _pair(running: Running) -> Pair:
    """Two tenants with a secret each."""
    first, second = await running.tenants(2)
    one, two = await running.connect(first), await running.connect(second)
    for tenant, session in ((first, one), (second, two)):
        answer = await ask(session, Write("secret", f"secret-of-{tenant.id}"), "w")
        assert not answer.startswith(("refused", "unknown")), answer
    return (first, one), (second, two)


async def a_list_of_others(running: Running) -> str:
    """Two tenants with a secret each list what they have, in turns."""
    seen = ""
    for n, (tenant, session) in enumerate((await _pair(running)) * TRIES):
        seen = await ask(session, List(), f"list-{n}")
        if any(not word.startswith(tenant.id) for word in seen.split("secret-of-")[1:]):
            return f"{tenant.id} was shown {seen[:80]}"
    assert "secret-of-" in seen, seen
    return ""


for _name in ("session_tenant", "scratch_table"):
    certificate(_name)(a_list_of_others)


def _trusting(cause: str, *, nobody: bool) -> Probe:
    async def row_security_lets_others_through(running: Running) -> str:
        """The backend's role asks for everything as one tenant (or as nobody), and sees another's.

        It asks without a tenant in the query, which sound code never does: so it is row security
        alone that is silent on a sound stack. What it sees has to have the one cause.
        """
        (mine, session), (other, _) = await _pair(running)
        async with app(running) as connection:
            await connection.execute(AS_TENANT, "" if nobody else mine.id)
            seen = {row["content"] for row in await connection.fetch(EVERYTHING)}
            caused = bool(await connection.fetchval(cause))
        listed = await ask(session, List(), "list")
        assert f"secret-of-{mine.id}" in listed, listed
        assert nobody or any(f"secret-of-{mine.id}" in each for each in seen), "not even its own"
        foreign = any(f"secret-of-{other.id}" in each for each in seen)
        assert foreign == caused, f"{foreign=}, {caused=}"
        if not foreign:
            return ""
        shown = await a_list_of_others(running)
        assert shown, "the platform does not show what its role sees"
        return shown

    return row_security_lets_others_through


for _name, _cause in CAUSES.items():
    certificate(_name)(_trusting(_cause, nobody=_name == "policy_escape"))


@certificate("with_check_true")
async def a_row_for_somebody_else(running: Running) -> str:
    """The backend's role, as one tenant, writes a row of another."""
    mine, other = await running.tenants(2)
    async with app(running, mine.id) as connection:
        try:
            await connection.execute(
                "INSERT INTO messages (tenant_id, id, thread_id, user_id, content) "
                "VALUES ($1, 'x', 'main', 'user', 'x')",
                other.id,
            )
        except asyncpg.InsufficientPrivilegeError:
            return ""
    return f"{mine.id} wrote a row of {other.id}"


@certificate("global_unique")
async def an_id_that_another_tenant_has_used(running: Running) -> str:
    """Two tenants use the same message id, which is none of the other's business."""
    first, second = await running.tenants(2)
    one, two = await running.connect(first), await running.connect(second)
    assert await ask(one, Write("k", "v"), "mine") == "None"
    answer = await ask(two, Write("k", "v"), "mine")
    return f"an id of the other's is {answer}" if answer.startswith("refused") else ""


@certificate("set_local_outside")
async def own_rows_vanish(running: Running) -> str:
    """A tenant lists what it has just written."""
    _, session = await running.session()
    assert await ask(session, Write("k", "v"), "w") == "None"
    seen = await ask(session, List(), "l")
    return f"after a write the list is {seen}" if seen == "[]" else ""


@certificate("count_of_all")
async def a_report_that_others_move(running: Running) -> str:
    """A tenant asks twice how much it has sent, between which only another one sends."""
    mine, other = await running.tenants(2)
    before = json.loads((await told(running, mine, {"kind": "report"}))["value"])["accepted"]
    loud = await running.connect(other)
    for n in range(3):
        await ask(loud, List(), str(n))
    after = json.loads((await told(running, mine, {"kind": "report"}))["value"])["accepted"]
    return f"{after - before} messages more, of which 1 is its own" if after - before > 1 else ""


@certificate("global_sequence_ids")
async def numbers_that_others_move(running: Running) -> str:
    """A tenant compares the numbers of two of its rows, between which only another one writes."""
    (_, one), (_, two) = await _pair(running)
    before = await ask(one, Write("a", "a"), "a")
    for n in range(3):
        await ask(two, Write("k", "v"), str(n))
    after = await ask(one, Write("b", "b"), "b")
    if before == after == "None":
        return ""
    return f"from {before} to {after}: {int(after) - int(before) - 1} rows of others between"


@certificate("global_lock_name")
async def a_neighbour_s_claim_waits(running: Running) -> str:
    """One tenant's claim hangs on a row of its own; another tenant claims, and is not delayed."""
    first, second = await running.tenants(2)
    one, two = await running.connect(first), await running.connect(second)
    async with locked(running, "resources", first):
        hangs = asyncio.create_task(ask(one, Claim("seat"), "c"))
        await waiting(running, 1, "%UPDATE resources%")
        other = asyncio.create_task(ask(two, Claim("seat"), "c"))
        async with superuser(running) as connection:

            async def decided() -> bool:
                return other.done() or bool(await connection.fetchval(WAITS))

            await eventually(decided)
        waited = not other.done()
    await hangs
    answer = await other
    assert waited or answer == "1", answer
    return f"{second.id} waited for {first.id}" if waited else ""


@certificate("cleanup_without_tenant")
async def rows_that_go_with_another_tenant(running: Running) -> str:
    """One tenant is retired; the other's messages stay."""
    (_, one), (second, _) = await _pair(running)
    before = await ask(one, List(), "before")
    assert "secret-of-" in before, before
    await running.driver.retire([second])
    after = await ask(one, List(), "after")
    return f"retiring a neighbour turned {before} into {after}" if after != before else ""
