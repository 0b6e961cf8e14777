"""Faults in a service's network namespace, on a real kernel: they bite, heal, and are alone."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from time import monotonic
from typing import Self

import pytest

from faults.marks import chain
from faults.netns import (
    Disconnect,
    DnsFailure,
    HalfOpen,
    Isolate,
    PacketDelay,
    PacketLoss,
    Rate,
)
from lab.actions import Read
from lab.engine.api import RUN
from lab.engine.cable import plugged
from lab.engine.netns import enter, sidecar
from lab.errors import LabError, UsageError
from lab.fault import Fault
from lab.hands.real.network import RunNetworks
from lab.system import Session
from tests.conformance import Look, Subject, check_fault
from tests.docker.standing import Held, fresh_run, held, two_sessions
from tests.faults.examples import Make, told

pytestmark = pytest.mark.docker
SERVICES = ("app", "redis")
ONE_OF_A_SORT: tuple[Make, ...] = (
    lambda: PacketLoss("app", 5, "redis"),
    lambda: HalfOpen("redis"),
    lambda: Rate("redis", 64),
    lambda: Disconnect("redis"),
)
"""Every other one puts the same things in the same places as one of these."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Held]:
    with held(tmp_path_factory.mktemp("netns"), fresh_run()) as stack:
        yield stack


def networks(up: Held) -> RunNetworks:
    """The real hand, which tells more than a fault may ask."""
    assert isinstance(up.stack.lab.networks, RunNetworks)
    return up.stack.lab.networks


@pytest.mark.parametrize("make", ONE_OF_A_SORT, ids=told)
def test_every_fault_in_a_namespace_keeps_the_contract(make: Make, up: Held) -> None:
    ids, engine = up.stack.start.ids, up.stack.start.engine
    service: str = getattr(make(), "service")  # noqa: B009 - every one of these has it

    async def look() -> Look:
        seen = await networks(up).namespace(service)
        home = "app" if service == "app" else "origin"
        return Look(
            {
                "rules": tuple(rule.text for rule in seen.rules),
                "queues": tuple((q.kind, q.handle) for q in seen.queues),  # a new cable: eth1
                "cable": plugged(engine, ids[service], f"crosstalk-{up.run}-{home}"),
                "address": dict(engine.placed(ids[service]).addresses),
            },
            {},
        )

    @asynccontextmanager
    async def lab() -> AsyncGenerator[Subject]:
        yield Subject(up.stack.lab, look)

    up.do(lambda: check_fault(make, lab))


async def answered(session: Session, op: str, seconds: float = 0.6) -> bool:
    """Whether one read is answered well and in time."""
    try:
        await session.perform(Read("k"), op=op, deadline_seconds=seconds)
    except (OSError, RuntimeError, TimeoutError, LabError):
        return False
    return True


async def first_answer(up: Held, prefix: str) -> bool:
    """Whether a new session, which needs a new connection to the store, is served."""
    driver, calm, loud = await two_sessions(up.stack, prefix)
    try:
        return await answered(calm, f"{prefix}-new")
    finally:
        for each in (calm, loud):
            each.abort()
        await driver.close()


class Pinging:
    """A plain connection of this host to the store, past the system under test."""

    def __init__(self, up: Held) -> None:
        at = up.stack.site.observers["redis"]
        self.socket = socket.create_connection((at.host, at.port), timeout=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, *words: str) -> bytes:
        """The whole answer to one command; nothing when the connection is dead."""
        lines = [f"*{len(words)}", *(line for w in words for line in (f"${len(w)}", w)), ""]
        try:
            self.socket.sendall("\r\n".join(lines).encode())
            return self._answer()
        except OSError:
            return b""

    def pings(self, seconds: float = 3.0) -> bool:
        """Whether it is answered in time."""
        self.socket.settimeout(seconds)
        return self.ask("PING") == b"+PONG\r\n"

    def _answer(self) -> bytes:
        got = self.socket.recv(65536)
        if got.startswith(b"$"):
            size = int(got[1 : got.index(b"\r\n")])
            while len(got) < size + len(b"\r\n") * 2 and (more := self.socket.recv(65536)):
                got += more
        return got


@contextmanager
def injected(up: Held, fault: Fault) -> Generator[None]:
    """Hold the fault for the body."""
    up.do(lambda: fault.inject(up.stack.lab))
    try:
        yield
    finally:
        up.do(lambda: fault.heal(up.stack.lab))


@pytest.mark.parametrize(
    "fault",
    [
        Isolate("redis"),
        Isolate("app", "redis"),
        Isolate("redis", "redis", "from"),
        Disconnect("redis"),
    ],
    ids=repr,
)
def test_an_open_session_feels_the_cut_and_the_heal(fault: Fault, up: Held) -> None:
    async def story() -> list[bool]:
        driver, calm, loud = await two_sessions(up.stack, f"cut{fault.kind[:3]}")
        seen = [await answered(calm, "before")]
        await fault.inject(up.stack.lab)
        seen.append(await answered(calm, "during"))
        await fault.heal(up.stack.lab)
        until = monotonic() + 5  # the system's own time-outs are one second
        while not (back := await answered(calm, f"after-{monotonic()}")) and monotonic() < until:
            pass
        for each in (calm, loud):
            each.abort()
        await driver.close()
        return [*seen, back]

    assert up.do(story) == [True, False, True]


def test_half_open_connections_stay_dead_after_the_heal_and_new_ones_never_notice(up: Held) -> None:
    with Pinging(up) as old, ExitStack() as later:
        assert old.pings()
        with injected(up, HalfOpen("redis")):
            assert not old.pings(0.5)
            new = later.enter_context(Pinging(up))
            assert new.pings()
        assert new.pings()
        assert not old.pings(1.0)


def test_lost_packets_are_counted_and_about_as_many_as_asked(up: Held) -> None:
    fault = PacketLoss("redis", 20)
    with Pinging(up) as wire, injected(up, fault):
        for _ in range(20):
            assert wire.pings(10)
        seen = up.do(lambda: networks(up).counts("redis", chain(fault)))
    assert seen.met > 30
    assert 1 < 100 * seen.dropped / seen.met < 50


def test_a_service_sends_no_faster_than_its_rate(up: Held) -> None:
    fault = Rate("redis", 200)
    with Pinging(up) as wire, injected(up, fault):
        wire.ask("SETRANGE", "big", "299999", "x")
        began = monotonic()
        wire.socket.settimeout(10)
        assert len(wire.ask("GET", "big")) > 300_000
        took = monotonic() - began
        seen = up.do(lambda: networks(up).shaped("redis", chain(fault)))
        wire.ask("DEL", "big")
    assert 300 / 200 * 0.8 < took < 300 / 200 * 2
    assert seen.sent_bytes > 300_000
    assert seen.held_back > 0


def test_without_names_open_sessions_go_on_and_new_ones_do_not(up: Held) -> None:
    async def story() -> list[bool]:
        driver, calm, loud = await two_sessions(up.stack, "names")
        seen = [await answered(calm, "before")]
        for answer in ("none", "refused"):
            fault = DnsFailure("app", answer)
            await fault.inject(up.stack.lab)
            seen += [await answered(calm, f"open-{answer}"), await first_answer(up, answer)]
            counted = await up.stack.lab.networks.counts("app", chain(fault))
            seen.append(counted.dropped > 0)
            await fault.heal(up.stack.lab)
        seen.append(await first_answer(up, "healed"))
        for each in (calm, loud):
            each.abort()
        await driver.close()
        return seen

    assert up.do(story) == [True, True, False, True, True, False, True, True]


def test_two_losses_in_one_place_do_not_touch_each_other(up: Held) -> None:
    one, two = PacketLoss("redis", 1), PacketLoss("redis", 2)
    with injected(up, one):
        with injected(up, two):
            pass
        seen = up.do(lambda: networks(up).namespace("redis"))
        assert seen.texts(chain(one))
        assert not seen.texts(chain(two))
        left = up.do(networks(up).residue)
        assert any(chain(one) in rule for rule in left["rule"])
    assert not any(up.do(networks(up).residue).values())


def test_a_second_rate_on_one_service_is_refused_and_the_first_stays(up: Held) -> None:
    one, two = Rate("redis", 500), Rate("redis", 600)
    with injected(up, one):
        with pytest.raises(LabError, match="shaped already"):
            up.do(lambda: two.inject(up.stack.lab))
        up.do(lambda: two.heal(up.stack.lab))
        queues = up.do(lambda: networks(up).namespace("redis")).queues
        assert [q.options["rate"] for q in queues if q.kind == "tbf"] == [500_000]


def test_delayed_packets_need_netem_and_a_kernel_without_it_is_told_so(up: Held) -> None:
    fault, told = PacketDelay("redis", 100), ""
    try:
        up.do(lambda: fault.inject(up.stack.lab))
        with Pinging(up) as wire:
            began = monotonic()
            assert wire.pings()
            assert monotonic() - began > 0.1
    except UsageError as refusal:
        told = str(refusal)
    finally:
        up.do(lambda: fault.heal(up.stack.lab))
    assert not told or ("netem" in told and "`latency`" in told)


def test_a_service_that_came_back_has_nothing_left_to_heal(up: Held) -> None:
    async def story() -> None:
        fault = Isolate("redis")
        await fault.inject(up.stack.lab)
        await up.stack.containers.stop("redis")
        await fault.heal(up.stack.lab)
        await up.stack.containers.start("redis")
        await fault.heal(up.stack.lab)

    up.do(story)
    assert not up.do(lambda: networks(up).namespace("redis")).rules


def test_no_namespace_of_another_run_and_not_this_hosts_is_ever_entered(up: Held) -> None:
    engine, container = up.stack.start.engine, up.stack.start.ids["redis"]
    with pytest.raises(LabError, match="not a container of this run"):
        enter(engine, "another-run", container)
    here = os.readlink("/proc/self/ns/net")
    status, output, said = sidecar(engine, container, [here, "read"], {RUN: up.run})
    assert (status, output) == (1, "")
    assert "not the service's namespace" in said


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Isolate("toxiproxy"), "no service `toxiproxy`"),
        (Isolate("app", "nowhere"), "is no end of link `nowhere`"),
        (Isolate("app", "client@noisy"), "told apart only at its consumer"),
    ],
    ids=repr,
)
def test_what_is_not_there_is_refused_in_one_line(fault: Fault, why: str, up: Held) -> None:
    with pytest.raises(UsageError, match=why):
        up.do(lambda: fault.inject(up.stack.lab))
