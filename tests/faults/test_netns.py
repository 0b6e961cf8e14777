"""Faults on packets are judged by their counters, and heal in the right order."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from faults.marks import chain
from faults.netns import HalfOpen, Isolate, PacketLoss, Rate
from faults.regions import PROFILES, ROUND_TRIP_MS, Region
from lab.errors import LabError, UsageError
from lab.fault import Window
from lab.hands import Lab
from lab.history import Op, Outcome
from tests.fakes.network import FakeNetworks
from tests.fakes.stack import FakeContainers, FakeLinks, lab_of

CALM = Window(1.0, (), {})


def ten(outcome: Outcome) -> Window:
    """Ten operations that ended like this."""
    ops = tuple(Op(f"{n}", "t", "c", 1, "read", "p", 0, 0, 10**7, outcome) for n in range(10))
    return Window(1.0, ops, {})


ANSWERED, LOST = ten(Outcome.OK), ten(Outcome.INFO)


class Blunt(FakeNetworks):
    """Networks of a kernel that ends no sockets."""

    async def forget(self, service: str, name: str) -> None:
        """Refused."""
        raise LabError("its sockets cannot be ended here", where=f"service {service}")


def test_a_loss_bit_when_packets_were_dropped_and_tells_how_many() -> None:
    fault = PacketLoss("redis", 20)
    counters = {f"{chain(fault)}.met": 200.0, f"{chain(fault)}.dropped": 38.0}
    effect = fault.effect(CALM, Window(1.0, (), counters))
    assert effect.bit
    assert effect.observed["percent"] == pytest.approx(19.0)


def test_one_lost_packet_is_no_loss_unless_somebody_felt_it() -> None:
    fault = PacketLoss("redis", 20)
    one = {f"{chain(fault)}.met": 5.0, f"{chain(fault)}.dropped": 1.0}
    assert not fault.effect(ANSWERED, replace(ANSWERED, counters=one)).bit
    assert fault.effect(ANSWERED, replace(LOST, counters=one)).bit


def test_a_cut_that_no_packet_met_or_nobody_felt_is_not_confirmed() -> None:
    fault = Isolate("redis")
    one = {f"{chain(fault)}.met": 1.0, f"{chain(fault)}.dropped": 1.0}
    assert not fault.effect(ANSWERED, replace(ANSWERED, counters=one)).bit
    assert fault.effect(ANSWERED, replace(LOST, counters=one)).bit
    assert not fault.effect(ANSWERED, LOST).bit
    assert not fault.effect(CALM, Window(1.0, (), {f"{chain(fault)}.met": 0.0})).bit


def test_a_rate_bit_when_its_bucket_ran_dry_and_tells_what_went_out() -> None:
    fault = Rate("redis", 64)
    counters = {f"{chain(fault)}.sent": 120_000.0, f"{chain(fault)}.held": 12.0}
    effect = fault.effect(CALM, Window(2.0, (), counters))
    assert effect.bit
    assert effect.observed["rate_kbps"] == 60.0
    assert not fault.effect(CALM, Window(2.0, (), {f"{chain(fault)}.sent": 9.0})).bit
    assert not fault.effect(CALM, Window(2.0, (), {f"{chain(fault)}.held": 1.0})).bit


def test_connections_are_forgotten_while_their_packets_are_still_dropped() -> None:
    async def story(lab: Lab, networks: FakeNetworks) -> None:
        fault = HalfOpen("redis")
        await fault.inject(lab)
        await fault.heal(lab)
        assert networks.forgotten == [("redis", chain(fault))]
        assert not networks.drops
        await fault.heal(lab)
        assert len(networks.forgotten) == 1

    networks = FakeNetworks()
    anyio.run(story, lab_of(FakeLinks(), FakeContainers(), networks=networks), networks)


def test_packets_pass_again_also_where_no_socket_can_be_ended() -> None:
    async def story(lab: Lab) -> None:
        fault = HalfOpen("redis")
        await fault.inject(lab)
        with pytest.raises(LabError, match="cannot be ended"):
            await fault.heal(lab)

    networks = Blunt()
    anyio.run(story, lab_of(FakeLinks(), FakeContainers(), networks=networks))
    assert not networks.drops


@pytest.mark.parametrize("profile", PROFILES)
def test_a_regions_round_trip_is_shared_out_over_both_directions(profile: str) -> None:
    out, back = Region("redis", profile).toxics
    assert (out.stream, back.stream) == ("upstream", "downstream")
    assert out.attributes["latency"] + back.attributes["latency"] == ROUND_TRIP_MS[profile]
    assert abs(out.attributes["latency"] - back.attributes["latency"]) <= 1


def test_a_region_that_nobody_measured_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="hongkong-tokyo"):
        Region("redis", "moon-mars")
