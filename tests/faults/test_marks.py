"""What a fault puts anywhere is called after its kind and fields, and by nothing else."""

from __future__ import annotations

import anyio
from hypothesis import given
from hypothesis import strategies as st

from faults.links_more import Bandwidth
from faults.marks import chain, mark
from faults.netns import PacketLoss
from faults.network import Latency
from lab.fault import name_of
from tests.fakes.stack import fake_lab

LATENCIES = st.builds(Latency, st.sampled_from(["redis", "postgres"]), st.integers(1, 60_000))


@given(one=LATENCIES, two=LATENCIES)
def test_two_faults_share_a_name_only_when_they_are_equal(one: Latency, two: Latency) -> None:
    assert (mark(one) == mark(two)) is (one == two)
    assert (name_of(one) == name_of(two)) is (one == two)


def test_two_latencies_on_one_link_lie_beside_each_other_and_heal_alone() -> None:
    async def story() -> None:
        lab, links, _ = fake_lab()
        one, two = Latency("redis", 50), Latency("redis", 100)
        await one.inject(lab)
        await two.inject(lab)
        assert sorted(t.attributes["latency"] for t in links.toxics["redis"].values()) == [50, 100]
        await one.heal(lab)
        assert [t.attributes["latency"] for t in links.toxics["redis"].values()] == [100]

    anyio.run(story)


def test_a_chains_name_fits_into_the_kernel_with_its_direction() -> None:
    assert len(f"{chain(PacketLoss('redis', 1))}-out") <= 28  # XT_EXTENSION_MAXNAMELEN less its end


def test_a_name_tells_what_was_asked_and_leaves_out_what_nobody_set() -> None:
    assert name_of(Latency("redis", 200)) == "latency on link redis (delay_ms=200)"
    assert name_of(Bandwidth("redis", 64, "upstream")) == (
        "bandwidth on link redis (rate_kbps=64, stream=upstream)"
    )
