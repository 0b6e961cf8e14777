"""I_QoS: how much neighbours lose for how much too much a disruptive tenant asks.

z is the neighbours' quality of service (lower is better: here their p95), w the disruptive load:
    dz = (z(disrupted) - z(calm)) / z(calm)      dw = (w(disrupted) - w(calm)) / w(calm)
    I_QoS = dz / dw      I_avg = the mean of I_QoS over equally spaced dw
0 is perfect isolation; there is no upper bound, so it only compares systems under one load.
Source: Krebs, Momm, Kounev, "Metrics and Techniques for Quantifying Performance Isolation in Cloud
Environments", QoSA 2012, and Science of Computer Programming 90B (2014) 116-134, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan


@dataclass(frozen=True, slots=True)
class Isolation:
    """i_qos by load, in multiples of the calm load (above 1); i_avg is their mean."""

    i_qos: Mapping[float, float]
    i_avg: float


def isolation(p95_ms: Mapping[float, float]) -> Isolation:
    """From the neighbours' p95 by the disruptive tenant's load, in multiples of its quota.

    1 is the calm load that everything is compared with. A p95 that is infinite (answers lost) makes
    its I_QoS infinite. Raises ValueError without a calm p95, or for a load below it.
    """
    calm = p95_ms.get(1.0, nan)
    if not 0 < calm < inf or any(load < 1 for load in p95_ms):
        raise ValueError(f"no calm p95 at load 1 to compare with: {dict(p95_ms)}")
    found = {load: (z - calm) / calm / (load - 1) for load, z in p95_ms.items() if load > 1}
    return Isolation(found, sum(found.values()) / len(found) if found else nan)
