"""Rules about tenants and their data."""

from __future__ import annotations

import asyncio

from lab.actions import List, Raw, Read, Work, Write
from lab.conformance.bench import COHORTS, Bench, Broken, rule
from lab.system import Session

FIRST, SECOND = COHORTS
AT_ONCE = 8
GARBAGE = b'\x00\xff{"type": [[[\xf0'
RAW_MEND = "put all text received into Reply.raw: a leak is looked for there"


@rule(
    "tenants are made as planned, and twice does not collide",
    mend="provision returns a Tenant for each name of the plan, in its order, with its cohort, and "
    "puts plan.prefix into the id",
)
async def provisioned(bench: Bench) -> str:
    """Names, order and cohorts of the plan; ids that differ, also between two plans."""
    once, again = await bench.tenants(FIRST, SECOND), await bench.tenants(FIRST, SECOND)
    planned = [(f"{cohort}-{n}", cohort) for n, cohort in enumerate(COHORTS)]
    for found in (once, again):
        if (told := [(tenant.name, tenant.cohort) for tenant in found]) != planned:
            raise Broken(f"planned {planned}, made {told}")
    ids = [tenant.id for tenant in (*once, *again)]
    if len(set(ids)) < len(ids):
        raise Broken(f"the same id twice: {', '.join(ids)}")
    return ", ".join(ids[:2])


@rule(
    "a tenant connects, and its session closes",
    mend="connect opens a session through site.entrance(name, tenant.cohort); close ends it",
)
async def connects(bench: Bench) -> str:
    """A session of each cohort, opened and closed."""
    for cohort in COHORTS:
        session = await bench.session(cohort)
        await session.close()
        bench.opened.remove(session)
    return f"{len(COHORTS)} cohorts"


@rule(
    "a value that was written is read back",
    Write,
    Read,
    mend="Reply.value of a Read is the value that was written last under the key; " + RAW_MEND,
)
async def read_back(bench: Bench) -> str:
    """Written, read, written over, read; and a key that nobody wrote has no value."""
    session = await bench.session()
    for value in ("value-one-of-check", "value-two-of-check"):
        await bench.ask(session, Write("check-key", value))
        reply = await bench.ask(session, Read("check-key"))
        if reply.value != value:
            raise Broken(f"wrote {value}, read {reply.value}")
        if value not in reply.raw:
            raise Broken(f"read {value}, and Reply.raw is {reply.raw[:60]!r}")
    if (nothing := await bench.ask(session, Read("nobody-wrote-this"))).value is not None:
        raise Broken(f"nobody wrote a key, and it reads {nothing.value!r}, not None")
    return ""


@rule(
    "a list shows what was written",
    Write,
    List,
    mend="List asks for everything the tenant can see; " + RAW_MEND,
)
async def listed(bench: Bench) -> str:
    """A value that was written is in the list's raw text."""
    session = await bench.session()
    await bench.ask(session, Write("check-listed", "value-in-the-list"))
    reply = await bench.ask(session, List())
    if "value-in-the-list" not in reply.raw:
        raise Broken(f"it is not in {reply.raw[:120]!r}")
    return ""


@rule(
    "another tenant reads nothing of it",
    Write,
    Read,
    mend="the system, or the driver's way of telling tenants apart, mixes them up",
)
async def foreign(bench: Bench) -> str:
    """Two tenants, one key: the second sees nothing of the first's, by reading or listing."""
    one, other = await bench.session(FIRST), await bench.session(SECOND)
    await bench.ask(one, Write("check-shared", "value-of-the-first"))
    asked = [Read("check-shared"), *([List()] if List in bench.driver.actions else [])]
    for action in asked:
        reply = await bench.ask(other, action)
        if "value-of-the-first" in f"{reply.value} {reply.raw}":
            raise Broken(f"{action} shows it: {reply.raw[:120]}")
    return ""


@rule(
    "many actions at once each get their own answer",
    Write,
    Read,
    mend="several actions may be in flight on one session: tell answers apart by `op`, or take "
    "turns inside the session",
)
async def at_once(bench: Bench) -> str:
    """Reads of different keys, all in flight together on one session."""
    session = await bench.session()
    keys = [f"check-key-{n}" for n in range(AT_ONCE)]
    for key in keys:
        await bench.ask(session, Write(key, f"value-of-{key}"))
    replies = await asyncio.gather(*(bench.ask(session, Read(key)) for key in keys))
    for key, reply in zip(keys, replies, strict=True):
        if reply.value != f"value-of-{key}":
            raise Broken(f"{key} read {reply.value}")
    return f"{AT_ONCE} at once"


@rule(
    "nothing is overheard in peace",
    Write,
    Read,
    mend="overheard returns what was received and is in no Reply; in peace every text is in one",
)
async def overheard(bench: Bench) -> str:
    """After ordinary work, no text is left over."""
    session = await bench.session()
    await bench.ask(session, Write("check-heard", "value"))
    await bench.ask(session, Read("check-heard"))
    if heard := session.overheard():
        raise Broken(f"overheard {heard[0][:120]!r}")
    return ""


@rule("work is done", Work, mend="Work('cpu', 1) is a millisecond of work; let the system do it")
async def worked(bench: Bench) -> str:
    """The cheapest work there is."""
    await bench.ask(await bench.session(), Work("cpu", 1))
    return ""


@rule(
    "garbage does no harm",
    Raw,
    Write,
    Read,
    mend="whatever a tenant sends may cost its own session, never another's",
)
async def garbage(bench: Bench) -> str:
    """A tenant sends garbage; its neighbour's session works on, and it can come back itself."""
    neighbour = await bench.session(SECOND)
    (tenant,) = await bench.tenants(FIRST)
    how = await _thrown(bench, await bench.connect(tenant))
    for session in (neighbour, await bench.connect(tenant)):
        await bench.ask(session, Write("check-after", "value"))
        if (await bench.ask(session, Read("check-after"))).value != "value":
            raise Broken("a session reads wrongly after it")
    return how


async def _thrown(bench: Bench, session: Session) -> str:
    """How the system took it; anything but a bug of the driver is fine."""
    try:
        await session.perform(Raw(GARBAGE), op="check-raw", deadline_seconds=1.0)
    except (KeyError, TypeError, AttributeError, IndexError, AssertionError):
        raise
    except Exception as error:  # noqa: BLE001 - any end is allowed, and told
        return f"it ends with {type(error).__name__}"
    return "it is answered"


RULES = (
    provisioned, connects, read_back, listed, foreign, at_once, overheard, worked, garbage,
)  # fmt: skip
