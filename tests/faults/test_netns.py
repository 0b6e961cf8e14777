"""Faults on packets are judged by their counters, and heal in the right order."""

from __future__ import annotations

import anyio
import pytest

from faults.marks import chain
from faults.netns import HalfOpen, Isolate, PacketLoss, Rate
from faults.regions import PROFILES, ROUND_TRIP_MS, Region
from lab.errors import UsageError
from lab.fault import Window
from lab.hands import Lab
from tests.fakes.network import FakeNetworks
from tests.fakes.stack import FakeContainers, FakeLinks, lab_of

CALM = Window(1.0, (), {})


def test_a_loss_bit_when_packets_were_dropped_and_tells_how_many() -> None:
    fault = PacketLoss("redis", 20)
    counters = {f"{chain(fault)}.met": 200.0, f"{chain(fault)}.dropped": 38.0}
    effect = fault.effect(CALM, Window(1.0, (), counters))
    assert effect.bit
    assert effect.observed["percent"] == pytest.approx(19.0)


def test_a_cut_that_no_packet_met_is_not_confirmed() -> None:
    fault = Isolate("redis")
    assert not fault.effect(CALM, Window(1.0, (), {f"{chain(fault)}.met": 0.0})).bit


def test_a_rate_bit_when_its_bucket_ran_dry_and_tells_what_went_out() -> None:
    fault = Rate("redis", 64)
    counters = {f"{chain(fault)}.sent": 120_000.0, f"{chain(fault)}.held": 7.0}
    effect = fault.effect(CALM, Window(2.0, (), counters))
    assert effect.bit
    assert effect.observed["rate_kbps"] == 60.0
    assert not fault.effect(CALM, Window(2.0, (), {f"{chain(fault)}.sent": 9.0})).bit


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


@pytest.mark.parametrize("profile", PROFILES)
def test_a_regions_round_trip_is_shared_out_over_both_directions(profile: str) -> None:
    out, back = Region("redis", profile).toxics
    assert (out.stream, back.stream) == ("upstream", "downstream")
    assert out.attributes["latency"] + back.attributes["latency"] == ROUND_TRIP_MS[profile]
    assert abs(out.attributes["latency"] - back.attributes["latency"]) <= 1


def test_a_region_that_nobody_measured_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="hongkong-tokyo"):
        Region("redis", "moon-mars")
