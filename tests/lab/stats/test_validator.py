"""The judge on somebody else's arrays says what it says on a run of the lab's own."""

from __future__ import annotations

import numpy as np

from lab.stats import PairedBlocks, PerformanceIsolationValidator
from lab.stats.series import Floats
from lab.verdict import Status
from tests.histories import quiet_noise
from tests.histories.traces import Run, simulated

DESIGN = PairedBlocks()
VALIDATOR = PerformanceIsolationValidator(DESIGN, seed=3)


def split(run: Run, names: int) -> dict[str, tuple[Floats, Floats]]:
    return {f"t-{n}": (run.due[n::names], run.latency[n::names]) for n in range(names)}


def test_it_answers_as_the_judge_does_and_its_gate_is_the_designs() -> None:
    for effect, status in ((1.0, Status.HELD), (1.5, Status.VIOLATED)):
        run = simulated(quiet_noise, 3, effect=effect, design=DESIGN)
        found = VALIDATOR.validate(split(run, 4))
        assert found.status is status is run.judged().status
        assert found.pooled == run.judged()
    assert VALIDATOR.gate == DESIGN.gate(3)


def test_one_tenant_alone_is_a_violation() -> None:
    run = simulated(quiet_noise, 3, design=DESIGN)
    tenants = split(run, 4)
    due, latency = tenants["t-2"]
    on = np.array([any(a <= at < b for a, b in VALIDATOR.gate) for at in due.tolist()])
    found = VALIDATOR.validate(tenants | {"t-2": (due, np.where(on, 6.0, 1.0) * latency)})
    assert found.status is Status.VIOLATED
    assert [tenant.tenant for tenant in found.tenants if tenant.slower] == ["t-2"]


def test_too_short_a_phase_and_nobody_at_all_are_unknown() -> None:
    run = simulated(quiet_noise, 3, effect=3.0, design=DESIGN)
    assert VALIDATOR.validate(split(run, 2), seconds=10.0).status is Status.UNKNOWN
    assert VALIDATOR.validate({}).status is Status.UNKNOWN
