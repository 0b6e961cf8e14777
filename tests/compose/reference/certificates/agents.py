"""Certificates of the defects in agents, their tools and their clean-up."""

from __future__ import annotations

import asyncio
import time
from signal import SIGKILL

from anyio import to_thread

from lab.actions import Read, Work, Write
from lab.hands import AgentProcess
from lab.hands.real.containers import Process
from lab.system import Session, Tenant
from tests.compose.reference.certificates import certificate
from tests.compose.reference.levers import ROOMY, set_quotas
from tests.compose.reference.stacks import Running, ask, eventually

GONE_SECONDS = 4.0
AT_WORK_TICKS = 5
"""Fiftieths of a second of CPU, after which an agent is in the middle of its work."""
CRASH_SECONDS, MARGIN_SECONDS = 3.5, 1.0
"""The deadline of work that crashes; how long before it the crash has to be."""
KEPT_MB, OVER_MEMORY_MB, OVER_PIDS = 100, 600, 40
KEPT_RESULTS, RUNAWAY_SECONDS = 60, 0.3
CRASHES = 6
"""After so many in a row, the pause before the next start is 1.6 s."""


async def inside(running: Running, command: str) -> str:
    """What a shell command says inside the backend's container."""
    start = running.stack.start
    words = ("sh", "-c", command)
    _, output = await to_thread.run_sync(start.engine.execute, start.ids["backend"], words)
    return output.decode()


async def resident_kb(running: Running, tenant: Tenant) -> int:
    """The resident memory of the tenant's agent."""
    pid = (await running.stack.containers.agents())[tenant.id].pid
    return int((await inside(running, f"grep VmRSS /proc/{pid}/status")).split()[1])


async def rows(running: Running) -> tuple[Process, ...]:
    """The backend container's process table."""
    return await running.stack.containers.process_table("backend")


async def crashed(running: Running, tenant: Tenant) -> None:
    """Kill the tenant's agent, once it is there."""

    found: list[AgentProcess] = []

    async def there() -> bool:
        agent = (await running.stack.containers.agents()).get(tenant.id)
        found.extend([agent] if agent else [])
        return agent is not None

    await eventually(there)
    (agent,) = found
    await running.stack.containers.kill_process(agent, SIGKILL)


async def left(running: Running, tenant: Tenant, session: Session) -> None:
    """Close the tenant's only session and wait until the platform is done with it."""
    await session.close()

    async def done() -> bool:
        held = (await running.driver.census())["sessions"]
        return not any(each.startswith(f"{tenant.id}/") for each in held)

    await eventually(done)


async def agent_is_gone(running: Running, tenant: Tenant) -> None:
    """Wait until the tenant's agent has ended. Raises TimeoutError."""

    async def gone() -> bool:
        return tenant.id not in await running.stack.containers.agents()

    await eventually(gone, GONE_SECONDS)


@certificate("orphan_agent")
async def the_agent_outlives_its_tenant(running: Running) -> str:
    """A tenant goes away; its agent process has to."""
    tenant, session = await running.session()
    assert tenant.id in await running.stack.containers.agents()
    await session.close()
    try:
        await agent_is_gone(running, tenant)
    except TimeoutError:
        await crashed(running, tenant)
        return f"the agent of {tenant.id} runs {GONE_SECONDS:g} s after its last socket"
    return ""


@certificate("agent_reused")
async def the_next_tenant_gets_a_used_agent(running: Running) -> str:
    """One tenant says something and leaves; the next one's first answer refers to it."""
    first, second = await running.tenants(2)
    session, secret = await running.connect(first), f"secret-of-{first.id}"
    assert await ask(session, Write("k", secret), "w") == "None"
    await left(running, first, session)
    reply = await (await running.connect(second)).perform(Read("k"), op="r", deadline_seconds=3)
    assert "agent_message" in reply.raw, reply.raw
    return f"{second.id} was answered: {reply.raw}" if secret in reply.raw else ""


@certificate("agent_context_by_thread")
async def a_restarted_agent_knows_what_others_said(running: Running) -> str:
    """One tenant says something, another one's agent crashes; its next answer refers to it."""
    first, second = await running.tenants(2)
    other, session = await running.connect(first), await running.connect(second)
    secret = f"secret-of-{first.id}"
    assert await ask(other, Write("k", secret), "w") == "None"
    await crashed(running, second)
    reply = await session.perform(Read("k"), op="r", deadline_seconds=3)
    assert "agent_message" in reply.raw, reply.raw
    return f"{second.id} was answered: {reply.raw}" if secret in reply.raw else ""


@certificate("agent_reply_by_order")
async def a_late_reply_is_taken_for_the_next(running: Running) -> str:
    """Work whose socket has gone ends late; the read that waits behind it is not told of it."""
    tenant, gone = await running.session()
    session = await running.connect(tenant)
    late = asyncio.create_task(gone.perform(Work("cpu", 800), op="late", deadline_seconds=3))
    await asyncio.sleep(0.15)  # let it reach the agent
    await gone.close()
    reply = await session.perform(Read("k"), op="next", deadline_seconds=3)
    (ended,) = await asyncio.gather(late, return_exceptions=True)
    assert isinstance(ended, ConnectionResetError)
    return f"the read was answered with the work: {reply.raw}" if "burned" in reply.raw else ""


@certificate("agent_files_left")
async def files_outlive_their_tenant(running: Running) -> str:
    """A tenant uses the file tool and leaves; its folder has to go."""
    tenant, session = await running.session()
    assert await ask(session, Work("files", 1), "f") == "None"
    await session.close()
    await agent_is_gone(running, tenant)

    async def gone() -> bool:
        return not await inside(running, f"ls -d /tmp/agent-{tenant.id}")

    try:
        await eventually(gone)
    except TimeoutError:
        return await inside(running, f"ls -d /tmp/agent-{tenant.id}/*")
    return ""


@certificate("tool_child_left")
async def a_tool_leaves_a_process(running: Running) -> str:
    """A tenant uses the shell tool and leaves; what the tool started has to be gone."""

    async def helpers() -> set[int]:
        return {row.pid for row in await rows(running) if row.args[:1] == ("sleep",)}

    before = await helpers()
    tenant, session = await running.session()
    assert await ask(session, Work("shell", 1), "s") == "None"
    await session.close()
    await agent_is_gone(running, tenant)
    stray = await helpers() - before
    for pid in stray:
        await inside(running, f"kill -9 {pid}")
    return f"{len(stray)} process of a tool runs without its tenant" if stray else ""


@certificate("agent_zombies")
async def ended_agents_are_not_reaped(running: Running) -> str:
    """A tenant leaves; no zombie is left."""

    async def zombies() -> set[int]:
        return {row.pid for row in await rows(running) if row.state == "Z"}

    before = await zombies()
    tenant, session = await running.session()
    await session.close()
    await agent_is_gone(running, tenant)
    left_over = await zombies() - before
    return f"{len(left_over)} zombie in the backend's container" if left_over else ""


@certificate("agent_memory_unlimited")
async def a_tool_takes_any_memory(running: Running) -> str:
    """More memory than any quota gives is asked for; it has to be refused."""
    _, session = await running.session()
    told = await ask(session, Work("memory", OVER_MEMORY_MB), "m", 10.0)
    return "" if told == "refused tool_failed" else f"{OVER_MEMORY_MB} MB were given: {told}"


@certificate("agent_pids_unlimited")
async def a_tool_starts_any_number_of_processes(running: Running) -> str:
    """More processes than any quota gives are asked for; it has to be refused."""
    _, session = await running.session()
    told = await ask(session, Work("processes", OVER_PIDS), "p", 10.0)
    return "" if told == "refused tool_failed" else f"{OVER_PIDS} processes ran: {told}"


@certificate("tool_without_timeout")
async def a_tool_runs_on_after_its_deadline(running: Running) -> str:
    """Work that is given up after half a second must not hold up the next message for seconds."""
    _, session = await running.session()
    assert await ask(session, Work("cpu", 4000), "late", 0.5) == "refused deadline"
    told = await ask(session, Read("k"), "next", 2.5)
    return "" if told == "None" else f"2.5 s after the deadline: {told}"


@certificate("agent_memory_leak")
async def a_tool_keeps_its_memory(running: Running) -> str:
    """The memory tool has answered; the agent is as small again as it was before."""
    tenant, session = await running.session()
    before_kb = await resident_kb(running, tenant)
    assert await ask(session, Work("memory", KEPT_MB), "m") == "None"
    grown_mb = (await resident_kb(running, tenant) - before_kb) // 1024
    return f"grown by {grown_mb} MB" if grown_mb > KEPT_MB / 2 else ""


@certificate("tool_keeps_results")
async def a_tool_keeps_a_kilobyte_of_each_result(running: Running) -> str:
    """The CPU tool is used over and over; the agent does not grow by as many kilobytes."""
    tenant, session = await running.session()
    await set_quotas(running, tenant, cpu_ms_per_second=100_000, **ROOMY)

    async def used(count: int, round_: str) -> int:
        for n in range(count):
            assert await ask(session, Work("cpu", 1), f"{round_}{n}") == "None"
        return await resident_kb(running, tenant)

    before_kb = await used(KEPT_RESULTS, "before")
    grown_kb = await used(KEPT_RESULTS, "after") - before_kb
    return f"grown by {grown_kb} kB" if grown_kb > KEPT_RESULTS / 2 else ""


@certificate("tool_file_kept_open")
async def a_tool_keeps_its_file_open(running: Running) -> str:
    """The file tool has answered; the agent has nothing in its folder open, nor the folder."""
    tenant, session = await running.session()
    assert await ask(session, Work("files", 1), "f") == "None"
    pid = (await running.stack.containers.agents())[tenant.id].pid
    return (await inside(running, f"ls -l /proc/{pid}/fd | grep -o '/tmp/.*' || true")).strip()


@certificate("agent_runaway")
async def an_agent_computes_for_ever(running: Running) -> str:
    """The CPU tool has answered; after that the agent uses no CPU."""
    tenant, session = await running.session()
    assert await ask(session, Work("cpu", 1), "c") == "None"
    pid = (await running.stack.containers.agents())[tenant.id].pid

    async def cpu_ticks() -> int:
        stat = await inside(running, f"cat /proc/{pid}/stat")
        return sum(map(int, stat.rpartition(")")[2].split()[11:13]))

    before_ticks = await cpu_ticks()
    await asyncio.sleep(RUNAWAY_SECONDS)
    used_ticks = await cpu_ticks() - before_ticks
    return f"{used_ticks} ticks in {RUNAWAY_SECONDS} s of rest" if used_ticks > 3 else ""


@certificate("agent_descriptor_leak")
async def a_descriptor_is_lost_with_every_agent(running: Running) -> str:
    """A tenant connects and leaves three times; the backend holds no process's descriptor then."""
    module = ("-m", "reference_platform.backend")
    backend = next(row.pid for row in await rows(running) if row.args[1:3] == module)
    count = f"ls -l /proc/{backend}/fd | grep -c pidfd"
    before = int(await inside(running, count))
    (tenant,) = await running.tenants(1)
    for _ in range(3):
        await left(running, tenant, await running.connect(tenant))
    await agent_is_gone(running, tenant)
    lost = int(await inside(running, count)) - before
    return f"{lost} descriptors after 3 visits" if lost > 0 else ""


@certificate("agent_crash_unnoticed")
async def work_in_flight_outwaits_a_crash(running: Running) -> str:
    """The agent is killed in the middle of work; the answer says so before the deadline."""
    tenant, session = await running.session()
    stat = f"cat /proc/{(await running.stack.containers.agents())[tenant.id].pid}/stat"

    async def cpu_ticks() -> int:
        return sum(map(int, (await inside(running, stat)).rpartition(")")[2].split()[11:13]))

    before_ticks, until = await cpu_ticks(), time.monotonic() + CRASH_SECONDS
    slow = asyncio.create_task(ask(session, Work("cpu", 4000), "slow", CRASH_SECONDS))

    async def at_work() -> bool:
        return await cpu_ticks() >= before_ticks + AT_WORK_TICKS

    await eventually(at_work)
    await crashed(running, tenant)
    crash = time.monotonic()
    told = await slow
    if told.endswith("agent_crashed"):
        return ""
    assert until - crash > MARGIN_SECONDS, f"the crash came too late: {told}"
    return f"work in flight at the crash: {told}"


@certificate("crash_restarts_all")
async def a_neighbours_agent_is_restarted(running: Running) -> str:
    """One agent is killed; the neighbour's process has to be the same one afterwards."""
    one, two = await running.tenants(2)
    await running.connect(one)
    await running.connect(two)
    before = await running.stack.containers.agents()
    await crashed(running, one)

    async def back() -> bool:
        now = (await running.stack.containers.agents()).get(one.id)
        return now is not None and now.started != before[one.id].started

    await eventually(back)
    same = (await running.stack.containers.agents()).get(two.id) == before[two.id]
    return "" if same else f"the agent of {two.id} is another one now"


@certificate("start_lock_shared")
async def a_crash_loop_holds_up_the_others(running: Running) -> str:
    """While a crashing tenant's agent waits for its next start, another tenant connects."""
    looping, other = await running.tenants(2)
    await running.connect(looping)
    for _ in range(CRASHES):
        await crashed(running, looping)
    await running.connect(other)
    waits = looping.id not in await running.stack.containers.agents()
    return "" if waits else f"{other.id} got in only after the agent of {looping.id}"
