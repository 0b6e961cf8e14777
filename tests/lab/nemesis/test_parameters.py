"""What `lab faults` tells of a fault is what its own checks enforce."""

from __future__ import annotations

import pytest

from faults.containers import CpuQuota, Kill
from faults.network import Latency, Partition
from lab import catalog
from lab.fault import Fault
from lab.nemesis.parameters import parameters


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            Latency,
            (
                "--link NAME",
                "--delay-ms 1 to 60000 milliseconds",
                "--jitter-ms 0 to delay_ms milliseconds (default 0)",
                "--stream downstream, upstream (default downstream)",
            ),
        ),
        (Partition, ("--link NAME", "--direction both, to, from (default both)")),
        (CpuQuota, ("--service NAME", "--cores 0.01 to 1024.0 CPU cores")),
    ],
)
def test_a_parameter_is_told_with_range_unit_and_default(
    fault: type[Fault], told: tuple[str, ...]
) -> None:
    assert tuple(str(each) for each in parameters(fault)) == told


def test_words_that_are_kept_in_a_constant_are_told_too() -> None:
    signals = next(each for each in parameters(Kill) if each.name == "signal")
    assert signals.values.startswith("SIGKILL, SIGTERM")


@pytest.mark.parametrize("kind", catalog.faults())
def test_every_number_of_every_fault_has_a_range(kind: str) -> None:
    numbers = [p for p in parameters(catalog.faults()[kind]) if p.type in ("int", "float")]
    assert not [each.name for each in numbers if not each.values]
