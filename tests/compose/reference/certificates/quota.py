"""Certificates of the defects in quotas, admission and fair queues."""

from __future__ import annotations

import asyncio
import time

import msgspec

from lab.actions import Read, Spend, Work, Write
from lab.system import Refused
from tests.compose.reference.certificates import certificate
from tests.compose.reference.levers import (
    ROOMY,
    counters,
    many,
    model_calls,
    model_does,
    refused,
    set_quotas,
    slow_link,
)  # fmt: skip
from tests.compose.reference.stacks import Running, ask

HEAVY, HEAVY_MS = 24, 40
FEW, SLOW_MS = 5, 40
ONCE_A_MINUTE = 1 / 60


@certificate("shared_pool")
async def no_cap_in_front_of_the_pool(running: Running) -> str:
    """One tenant asks for many heavy queries at once: on a sound stack most are refused."""
    _, session = await running.session("noisy")
    work = Work("query", HEAVY_MS)
    told = await asyncio.gather(*(ask(session, work, f"heavy-{n}", 5.0) for n in range(HEAVY)))
    let_in = sum(not words.startswith(("refused", "unknown")) for words in told)
    assert let_in, told
    return f"{let_in} of {HEAVY} heavy queries were let in" if let_in > HEAVY / 2 else ""


@certificate("bucket_for_all")
async def a_flood_uses_up_everybodys_requests(running: Running) -> str:
    """A tenant with room for a flood sends one; another one asks a few things meanwhile."""
    noisy, quiet = await running.tenants(2)
    flood, session = await running.connect(noisy), await running.connect(quiet)
    await set_quotas(running, noisy, in_flight=1000)
    flooding = [asyncio.create_task(ask(flood, Read("k"), f"f{n}")) for n in range(150)]
    await asyncio.wait(flooding, return_when=asyncio.FIRST_COMPLETED)  # a refusal is quicker
    told = await many(session, 10, _read)
    assert refused(await asyncio.gather(*flooding), "rate_limited"), "the flood was none"
    no = refused(told, "rate_limited")
    return f"{no} of 10 requests were refused beside a flood" if no else ""


@certificate("bucket_per_socket")
async def more_sockets_are_more_requests(running: Running) -> str:
    """A tenant with a burst of five uses two sockets."""
    (tenant,) = await running.tenants()
    await set_quotas(running, tenant, burst=FEW, requests_per_second=ONCE_A_MINUTE)
    sessions = [await running.connect(tenant) for _ in range(2)]
    told = [words for session in sessions for words in await many(session, FEW, _read)]
    let_in = len(told) - refused(told)
    return f"{let_in} requests were let in, of a burst of {FEW}" if let_in > FEW else ""


@certificate("fixed_window")
async def each_second_begins_anew(running: Running) -> str:
    """A tenant's burst is used up, and more than a second goes by."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, burst=FEW, requests_per_second=ONCE_A_MINUTE)
    await many(session, FEW + 1, _read)
    await asyncio.sleep(1.05)
    again = FEW - refused(await many(session, FEW, lambda n: Read(f"again{n}")))
    return f"{again} requests were let in a second after the burst" if again else ""


@certificate("in_flight_unlimited")
async def any_number_is_unfinished(running: Running) -> str:
    """A tenant that may have one unfinished message sends five."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, in_flight=1)
    no = refused(await many(session, FEW, _read), "too_many_in_flight")
    return "" if no else f"{FEW} messages were in flight, where one may be"


@certificate("sockets_unlimited")
async def any_number_of_sockets_is_open(running: Running) -> str:
    """A tenant that may have one socket opens two."""
    (tenant,) = await running.tenants()
    await running.connect(tenant)
    await set_quotas(running, tenant, sockets=1)
    try:
        await running.connect(tenant)
    except Refused:
        return ""
    return "two sockets are open, where one may be"


@certificate("queue_unbounded")
async def any_number_waits_for_the_pool(running: Running) -> str:
    """Many messages of a tenant that may hold one connection, while the database is slow."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, **ROOMY, connections=1, queue=1)
    assert await ask(session, Read("k"), "before") == "None"
    async with slow_link(running, "postgres", SLOW_MS):
        told = await many(session, FEW, _read)
    return "" if refused(told, "queue_full") else f"{FEW - 1} messages waited, where one may"


@certificate("head_of_line_blocking")
async def a_neighbour_waits_behind_a_full_share(running: Running) -> str:
    """One tenant's messages queue for its only connection; another one's message comes last."""
    noisy, quiet = await running.tenants(2)
    flood, session = await running.connect(noisy), await running.connect(quiet)
    await set_quotas(running, noisy, **ROOMY, connections=1)
    for each in (flood, session):
        assert await ask(each, Read("k"), "before") == "None"
    async with slow_link(running, "postgres", SLOW_MS):
        waiting = [
            asyncio.create_task(ask(flood, Read("k"), f"f{n}", 9)) for n in range(2 * FEW - 2)
        ]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert await ask(session, Read("k"), "late", 9) == "None"
        unfinished = sum(not task.done() for task in waiting)
        await asyncio.gather(*waiting)
    return (
        "" if unfinished > 2 else f"only {unfinished} of {len(waiting)} messages were still waiting"
    )


@certificate("share_lost_on_error")
async def an_error_keeps_the_connections_share(running: Running) -> str:
    """A tenant that may hold one connection spends what it has not; then it reads."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, connections=1)
    assert refused([await ask(session, Spend(5000), "too-much")], "insufficient_credits")
    told = await ask(session, Read("k"), "after", 0.8)
    return "" if told == "None" else f"after an error: {told}"


@certificate("work_is_free")
async def work_costs_nothing(running: Running) -> str:
    """A tenant with a tenth of a millisecond a second asks for work, one piece after another."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, cpu_ms_per_second=0.1)
    told = [await ask(session, Work("cpu", 2), f"w{n}") for n in range(3)]
    return "" if refused(told, "over_budget") else "6 ms were used, where 0.2 may be"


@certificate("tokens_unmetered")
async def tokens_are_not_counted(running: Running) -> str:
    """A tenant with a handful of tokens a minute keeps asking the model."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, tokens_per_minute=FEW)
    told = [await ask(session, Write("k", "a word " * 20), f"w{n}") for n in range(2)]
    return "" if refused(told, "over_budget") else f"two prompts went through with {FEW} tokens"


@certificate("failed_calls_free")
async def broken_answers_are_not_counted(running: Running) -> str:
    """The model breaks its answer off, again and again, and the tenant has few tokens."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, tokens_per_minute=FEW)
    async with model_does(running, tenant, break_after_tokens=3):
        told = [await ask(session, Write("k", "a word " * 20), f"w{n}") for n in range(2)]
    assert refused(told[:1], "llm_unavailable"), told
    return "" if refused(told, "over_budget") else f"broken answers cost nothing: {told}"


@certificate("network_unmetered")
async def answers_are_not_counted(running: Running) -> str:
    """A tenant with little bandwidth reads a large value, which is in the answers alone."""
    tenant, session = await running.session()
    assert await ask(session, Write("k", "v" * 5000), "w") == "None"
    before = (await counters(running, tenant))["used"]["network"]
    assert await ask(session, Read("k"), "r") == "v" * 5000
    used = (await counters(running, tenant))["used"]["network"] - before
    return "" if used > 5 else f"an answer of 5 kB was counted as {used:.1f} kB"


@certificate("disk_unmetered")
async def writing_to_the_disk_is_not_counted(running: Running) -> str:
    """A tenant with a few bytes of disk a second writes files, again and again."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, disk_kb_per_second=0.1)
    told = [await ask(session, Work("files", 1), f"w{n}") for n in range(2)]
    assert not told[0].startswith("refused"), told
    return "" if refused(told, "over_budget") else "two files were written with 0.2 kB of room"


@certificate("quota_change_not_live")
async def an_open_socket_keeps_its_quotas(running: Running) -> str:
    """A tenant with an open socket is given less."""
    tenant, session = await running.session()
    assert await ask(session, Read("k"), "before") == "None"
    await set_quotas(running, tenant, burst=1, requests_per_second=ONCE_A_MINUTE)
    no = refused(await many(session, FEW, _read), "rate_limited")
    return "" if no else f"{FEW} requests were let in, where one may be"


@certificate("quotas_not_kept")
async def a_change_is_in_memory_only(running: Running) -> str:
    """A change, and what the next socket finds of it, for which quotas are read again."""
    tenant, _ = await running.session()
    await set_quotas(running, tenant, in_flight=1)
    session = await running.connect(tenant)
    no = refused(await many(session, FEW, _read), "too_many_in_flight")
    return "" if no else "the next socket had the quotas from before"


@certificate("refusal_without_delay")
async def a_refusal_says_not_when_to_come_again(running: Running) -> str:
    """What a refused message is told."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, burst=1, requests_per_second=ONCE_A_MINUTE)
    assert refused(await many(session, 2, _read), "rate_limited") == 1
    (told,) = [msgspec.json.decode(text) for text in session.overheard()]
    return "" if told["retry_after_ms"] > 0 else f"refused with {told}"


@certificate("retry_storm")
async def a_failed_call_is_repeated(running: Running) -> str:
    """The model fails for a tenant that asks once."""
    tenant, session = await running.session()
    async with model_does(running, tenant, fail=True):
        began = time.monotonic()
        told = await ask(session, Read("k"), "r", 0.5)
        assert told.startswith(("refused", "unknown")), told
    calls = await model_calls(running, tenant)
    assert calls, "the model was not asked"
    return "" if calls == 1 else f"{calls} calls in {time.monotonic() - began:.1f} s for 1 message"


def _read(n: int) -> Read:
    return Read(f"k{n}")
