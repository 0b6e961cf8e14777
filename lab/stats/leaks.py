"""Whether something grows with every request, and goes on growing: what a leak is, in numbers.

Growth is counted per request, not per second: a server that is asked twice as often may do twice as
much, and one that keeps a kilobyte of each request does so at any rate. Sources: Machida et al.
(WoSAR 2013), a trend test alone calls healthy servers leaking; Matias et al. (2014), compare with
one that does not leak; psleak, growth has to persist.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lab.resources import Kind
from lab.stats.slopes import Slope, decelerating, theil_sen


@dataclass(frozen=True, slots=True)
class Judged:
    """Which figure of a kind of source may not grow, and which growth is nobody's business."""

    metric: str
    above_bytes: float


JUDGED = {
    Kind.AGENT: Judged("memory_bytes", 300.0),
    Kind.KEYS: Judged("bytes", 64.0),
    Kind.CONTAINER: Judged("rss_bytes", 1024.0),
}
"""A tenant's process may fill its caches for a while. What it stores is counted to the byte. A
service is everybody's: its caches fill longer, processes come and go, and page cache is left out.
"""

CONTROL_TIMES = 3.0
"""A leak grows by more than this many times what a control does."""

POINTS_LEAST, REQUESTS_LEAST = 9, 100
"""With fewer there are not three points in every third, or too few requests to grow by."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one thing, in bytes per request; `thirds`: in each third of the requests.

    settling: it grows slower towards its end.
    """

    slope: Slope
    thirds: tuple[float, ...]
    settling: bool
    requests: int

    @property
    def enough(self) -> bool:
        """Whether it was read, and asked for, often enough to say anything."""
        return self.slope.points >= POINTS_LEAST and self.requests >= REQUESTS_LEAST

    def leaks(self, above: float, control: float = 0.0) -> bool:
        """Whether it surely grows by more than `above` bytes a request, and goes on to.

        control: what something that is known not to leak grows by.
        """
        bound = max(above, CONTROL_TIMES * control)
        persists = all(third > bound / 2 for third in self.thirds)  # one jump does not
        return self.enough and self.slope.lower > bound and persists and not self.settling


def growth(at_ns: Integers, values: Floats, done_ns: Integers) -> Growth:
    """How a level grows with the requests that were done. `done_ns` is in rising order."""
    requests = np.searchsorted(done_ns, at_ns).astype(np.float64)
    count = int(requests[-1] - requests[0]) if len(requests) else 0
    first = float(requests[0]) if count else 0.0
    edges = [first + part / 3 * count for part in range(4)]
    return Growth(
        slope=theil_sen(requests, values),
        thirds=tuple(_slope(requests, values, a, b) for a, b in pairwise(edges)),
        settling=decelerating(requests, values),
        requests=count,
    )


def _slope(x: Floats, y: Floats, start: float, end: float) -> float:
    inside = (x >= start) & (x <= end)
    return theil_sen(x[inside], y[inside]).slope
