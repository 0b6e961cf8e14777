"""PerformanceIsolationValidator: the judge for those who bring their own load.

What `lab/verifiers/latency.py` says of a run, on plain arrays: switch the aggressor by `gate`, note
when each of the neighbours' requests was due and how long it took, and ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lab.stats.design import PairedBlocks
from lab.stats.host import CALM, Host
from lab.stats.paired import Judgement, judge
from lab.stats.series import Floats
from lab.stats.worst import TenantRatio, worst_tenant
from lab.verdict import Status


@dataclass(frozen=True, slots=True)
class Finding:
    """`pooled` is the answer for all neighbours together; `tenants` are the judged, worst first."""

    pooled: Judgement
    tenants: tuple[TenantRatio, ...]

    @property
    def status(self) -> Status:
        """VIOLATED also when only one single tenant is slower than the margin allows."""
        alone = any(tenant.slower for tenant in self.tenants)
        return Status.VIOLATED if alone else self.pooled.status


@dataclass(frozen=True, slots=True)
class PerformanceIsolationValidator:
    """Whether an aggressor slows its neighbours by more than `design.margin`; see `PairedBlocks`.

    A false VIOLATED comes at most in `design.alpha` of all phases, whatever else the host does, for
    coins that `seed` decides say when the aggressor is on.
    """

    design: PairedBlocks = field(default_factory=PairedBlocks)
    seed: int = 0

    @property
    def gate(self) -> tuple[tuple[float, float], ...]:
        """When the aggressor has to be on, (start, end) in seconds since the phase's start."""
        return self.design.gate(self.seed)

    def validate(
        self,
        neighbours: Mapping[str, tuple[Floats, Floats]],
        *,
        seconds: float | None = None,
        host: Host = CALM,
    ) -> Finding:
        """Judge a phase that lasted `seconds` (None: as long as it can).

        neighbours: tenant -> (when each request was due, in seconds since the phase's start; its
        latency in ms from then on, infinite unless it was answered). host: what else went on.
        """
        due = np.concatenate([due for due, _ in neighbours.values()] or [np.empty(0)])
        latency = np.concatenate([ms for _, ms in neighbours.values()] or [np.empty(0)])
        pairs = self.design.pairs_within(self.design.seconds if seconds is None else seconds)
        pooled = judge(self.design, self.seed, due, latency, pairs_available=pairs, host=host)
        if pooled.look == 0:
            return Finding(pooled, ())
        return Finding(
            pooled,
            worst_tenant(self.design, self.seed, neighbours, pairs=pooled.look, host=host),
        )
