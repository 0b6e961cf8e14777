# pyright: basic, reportMissingImports=false
# The platform runs in containers only, so the type checker does not know its package.
"""An agent for every tenant: started once, replaced when it dies, gone with the last socket."""

from __future__ import annotations

import asyncio
import errno
import hmac
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

import anyio
import msgspec
import pytest
from reference_platform import agents as module
from reference_platform import defects
from reference_platform.agent_line import AgentLine, AgentPort, Hello
from reference_platform.agent_process import AgentProcess
from reference_platform.agents import OwnAgents
from reference_platform.conversation import PACKET_MAX, Conversation
from reference_platform.mind import SAID_MAX
from reference_platform.problems import Problem
from reference_platform.quotas import Quotas

FAR = 1e9
LONGEST = "\N{GRINNING FACE}" * 16384
"""The longest content that a message may have, where each character takes most room."""


class FakeAgent(Conversation):
    """Answers every request at once with what it was asked; `crash` ends it."""

    def __init__(self, tenant: str) -> None:
        super().__init__()
        self.tenant, self.opening, self.silent = tenant, {}, False
        self.heard: list[dict[str, object]] = []

    @property
    def ready(self) -> bool:
        return self.opening != {}

    def _send(self, packet: bytes) -> None:
        request = msgspec.json.decode(packet)
        self.heard.append(request)
        if "context" in request:
            self.opening = request
        if not self.silent:
            self._heard(msgspec.json.encode({"id": 0, **request}))

    def crash(self) -> None:
        self._ended()

    async def stop(self) -> None:
        self._ended()


class Fleet:
    """Starts fake agents and remembers each, with the time of its start."""

    def __init__(self) -> None:
        self.started: list[tuple[str, float, FakeAgent]] = []
        self.refusal: OSError | None = None

    async def start(self, tenant: str) -> FakeAgent:
        if self.refusal is not None:
            raise self.refusal
        agent = FakeAgent(tenant)
        self.started.append((tenant, asyncio.get_running_loop().time(), agent))
        return agent

    def of(self, tenant: str) -> list[FakeAgent]:
        return [agent for name, _, agent in self.started if name == tenant]


class FakeOwners:
    """Whose claim it is, as another replica would change it."""

    def __init__(self) -> None:
        self.owner: dict[str, str] = {}

    async def claim(self, tenant: str) -> None:
        self.owner[tenant] = "here"

    async def lost(self, tenant: str) -> bool:
        return self.owner.get(tenant) != "here"

    async def release(self, tenant: str) -> None:
        self.owner.pop(tenant, None)


def run(
    story: Callable[[OwnAgents, Fleet], Awaitable[None]], owners: FakeOwners | None = None
) -> None:
    async def main() -> None:
        fleet = Fleet()
        agents = OwnAgents(fleet.start, lambda _: Quotas(), owners)
        with anyio.fail_after(10):
            await story(agents, fleet)

    anyio.run(main)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - the watch is a task of its own
        await anyio.sleep(0.005)


def test_one_agent_serves_all_sockets_of_a_tenant_and_ends_with_the_last() -> None:
    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        await agents.open("a")
        await agents.open("a")
        (agent,) = fleet.of("a")
        await agents.close("a")
        assert agent.alive
        await agents.close("a")
        assert not agent.alive
        assert agents.counters()["agents"] == {}

    run(story)


def test_a_crashed_agent_is_replaced_and_told_what_was_said() -> None:
    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        await agents.open("a")
        await agents.step("a", {"text": "t", "said": "hello"}, FAR)
        fleet.of("a")[0].crash()
        await until(lambda: len(fleet.of("a")) == 2 and fleet.of("a")[1].opening != {})
        assert fleet.of("a")[1].opening["context"] == ["hello"]
        await agents.close("a")
        await agents.open("a")
        assert fleet.of("a")[-1].opening["context"] == []
        await agents.close("a")

    run(story)


def test_a_crash_fails_what_is_in_flight_at_once() -> None:
    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        await agents.open("a")
        (agent,) = fleet.of("a")
        agent.silent = True
        step = asyncio.ensure_future(agents.step("a", {"text": "t"}, FAR))
        await asyncio.sleep(0)  # it is asked
        agent.crash()
        with pytest.raises(Problem, match="agent_crashed"):
            await step
        await agents.close("a")

    run(story)


def test_a_crash_loop_waits_twice_as_long_each_time_and_holds_up_nobody_else() -> None:
    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        await agents.open("loop")
        for n in range(1, 5):
            await until(lambda n=n: len(fleet.of("loop")) == n and fleet.of("loop")[-1].ready)
            fleet.of("loop")[-1].crash()
        await agents.open("calm")  # while the loop waits for its fifth start
        assert len(fleet.of("loop")) == 4
        await until(lambda: len(fleet.of("loop")) == 5)
        at = [when for name, when, _ in fleet.started if name == "loop"]
        pauses = [later - earlier for earlier, later in pairwise(at)]
        first = module.BACK_OFF_FIRST_SECONDS
        assert all(pause >= first * 2**n * 0.9 for n, pause in enumerate(pauses))
        await agents.close("loop")
        await agents.close("calm")

    run(story)


def test_an_agent_that_another_replica_has_claimed_ends_here_until_it_is_needed() -> None:
    owners = FakeOwners()

    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        await agents.open("a")
        (agent,) = fleet.of("a")
        owners.owner["a"] = "there"
        await until(lambda: not agent.alive)
        assert owners.owner["a"] == "there"
        await agents.step("a", {"text": "t"}, FAR)
        assert owners.owner["a"] == "here"
        assert len(fleet.of("a")) == 2
        await agents.close("a")
        assert owners.owner == {}

    run(story, owners)


def test_a_take_over_is_noticed_every_time_and_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.01)
    owners, clock = FakeOwners(), time.monotonic

    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        await agents.open("a")
        for _ in range(6):  # after six crashes the next start waits for 1.6 s
            owners.owner["a"] = "there"
            await until(lambda: not fleet.of("a")[-1].alive)
            began = clock()
            await agents.step("a", {"text": "t"}, FAR)
            assert clock() - began < module.BACK_OFF_FIRST_SECONDS
        assert len(fleet.of("a")) == 7
        fleet.of("a")[-1].crash()  # and it is still replaced when it dies
        await until(lambda: len(fleet.of("a")) == 8)
        await agents.close("a")

    run(story, owners)


def test_an_agent_that_the_kernel_has_no_room_for_is_unavailable_until_there_is_room() -> None:
    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        fleet.refusal = BlockingIOError(errno.EAGAIN, "no more processes")
        with pytest.raises(Problem, match="agent_unavailable"):
            await agents.open("a")
        fleet.refusal = None
        await agents.open("a")
        await agents.close("a")

    run(story)


def test_an_agent_is_told_no_more_of_a_message_than_it_remembers() -> None:
    async def story(agents: OwnAgents, fleet: Fleet) -> None:
        await agents.open("a")
        await agents.step("a", {"text": "t", "said": LONGEST}, FAR)
        assert fleet.of("a")[0].heard[-1]["said"] == LONGEST[:SAID_MAX]
        fleet.of("a")[0].crash()
        await until(lambda: len(fleet.of("a")) == 2 and fleet.of("a")[1].opening != {})
        assert fleet.of("a")[1].opening["context"] == [LONGEST[:SAID_MAX]]
        await agents.close("a")

    run(story)


def test_a_real_agent_answers_the_longest_message_and_outlives_one_too_long_for_a_packet() -> None:
    async def main() -> None:
        agents = OwnAgents(AgentProcess.start, lambda _: Quotas())
        with anyio.fail_after(10):
            await agents.open("packets")
            for _ in range(2):
                request = {"text": LONGEST, "said": LONGEST}
                reply, _ = await agents.step("packets", request, FAR)
            assert reply["text"] == f"{LONGEST} (after: {LONGEST[:SAID_MAX]})"
            one_too_many = "x" * (PACKET_MAX - 200)  # fits in the request, but not in the reply
            for text in ("x" * PACKET_MAX, one_too_many):
                with pytest.raises(Problem, match="too_large") as refusal:
                    await agents.step("packets", {"text": text}, FAR)
                assert refusal.value.definite
            await agents.step("packets", {"text": "t"}, FAR)
            assert len(agents.start_ms) == 1
            await agents.close("packets")

    anyio.run(main)


def test_a_line_that_comes_as_its_caller_gives_up_is_hung_up() -> None:
    class Line(AgentLine):
        hung_up = False

        def hang_up(self) -> None:
            self.hung_up = True

    async def main() -> None:
        port = AgentPort("key")
        line, proof = Line(port), hmac.new(b"key", b"a", "sha256").hexdigest()
        caller = asyncio.ensure_future(port.start("a"))
        await asyncio.sleep(0)
        assert port.admitted(line, Hello("a", proof))
        caller.cancel()  # in the same tick
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert line.hung_up
        assert not port.admitted(line, Hello("a", "\N{SNOWMAN}"))

    anyio.run(main)


def test_with_replies_by_order_an_agent_answers_and_a_late_reply_is_the_next_ones() -> None:
    async def main() -> None:
        agent = FakeAgent("a")
        with anyio.fail_after(5):
            await agent.open({"context": []})
            assert (await agent.ask({"text": "first"}))["text"] == "first"
        agent.silent = True
        late, following = (asyncio.ensure_future(agent.ask({"text": t})) for t in ("l", "f"))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.sleep(0)
        agent._heard(b'{"id": 2, "text": "l"}')
        with anyio.fail_after(5):
            assert (await following)["text"] == "l"

    defects.plant("agent_reply_by_order", "token")
    try:
        anyio.run(main)
    finally:
        defects.plant("", "")
