"""Beyond the host's limits everything is healed, and the run is UNKNOWN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import anyio
import anyio.lowlevel
import pytest

from faults.network import Down
from lab.errors import ExitCode
from lab.fault import applied
from lab.history import history
from lab.journal import Acted, Journal
from lab.nemesis.guard import Limits, Reading, TrippedError, beyond, guarding, look, verdicts
from lab.verdict import Status
from tests.fakes.stack import fake_lab

CALM = Reading(memory_free_mb=8000, disk_free_mb=8000, load_per_core=1.0)


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (CALM, ""),
        (Reading(100, 8000, 1), "100 MiB of memory are left, 256 are needed"),
        (Reading(8000, 100, 1), "100 MiB of disk are left"),
        (Reading(8000, 8000, 99), "the load is 99.0 a core"),
        (Reading(8000, 8000, 1, "down on link x", 4000), "down on link x has been open for 4000 s"),
        (Reading(100, 100, 1), "memory are left, 256 are needed; 100 MiB of disk"),
    ],
)
def test_every_limit_that_is_passed_is_told_with_its_numbers(seen: Reading, says: str) -> None:
    told = beyond(Limits(), seen)
    assert says in told
    assert bool(told) is bool(says)


def test_the_oldest_open_fault_is_the_one_that_counts() -> None:
    seen = look({"young": monotonic() - 1, "old": monotonic() - 50})
    assert seen.oldest == "old"
    assert 49 < seen.oldest_seconds < 52
    assert seen.memory_free_mb > 0 < seen.disk_free_mb


def test_the_lever_heals_everything_and_says_why(tmp_path: Path) -> None:
    readings = iter([CALM, Reading(1, 8000, 1)])

    def read(_: Mapping[str, float]) -> Reading:
        return next(readings)

    async def story() -> str:
        lab, links, _ = fake_lab()
        with Journal(tmp_path) as journal:
            async with guarding(Limits(), {}, read) as lever:
                async with applied(Down("redis"), lab, journal, epoch_ns=0):
                    await anyio.sleep(30)
                pytest.fail("the body went on")
        assert links.quiet
        return lever.why

    assert "1 MiB of memory" in anyio.run(story)


def test_a_calm_host_is_left_alone() -> None:
    async def story() -> str:
        async with guarding(Limits(), {}, lambda _: CALM) as lever:
            await anyio.lowlevel.checkpoint()
        return lever.why

    assert anyio.run(story) == ""


def test_a_run_that_the_guard_ended_is_unknown() -> None:
    acted = Acted(actor="guard", action="healed", reason="no memory", at_ns=1)
    (verdict,) = verdicts(history((), (acted,)))
    assert verdict.status is Status.UNKNOWN
    assert "no memory" in verdict.reason
    assert verdicts(history((), (Acted(actor="driver", action="a", reason="b", at_ns=1),))) == ()
    assert TrippedError("x").exit_code is ExitCode.UNKNOWN
