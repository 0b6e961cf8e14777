"""A leak grows with every request and goes on to; a warm-up, a sawtooth and noise are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab.resources import Floats, Kind
from lab.stats.leaks import JUDGED, Growth, growth

SECOND = 1_000_000_000
ABOVE = JUDGED[Kind.AGENT].above_bytes
PAGE = 4096

Shape = Callable[[Floats], Floats]


def leaking(per_request: float) -> Shape:
    return lambda n: 11e6 + per_request * n


def grown(bytes_of: Shape, *, seconds: float = 20, per_second: float = 25) -> Growth:
    """What is found in a process whose memory is `bytes_of(requests)`, read 5 times a second."""
    at_ns = np.arange(0, seconds * SECOND, SECOND // 5).astype(np.int64)
    done_ns = np.arange(0, seconds * SECOND, SECOND / per_second).astype(np.int64)
    requests = np.searchsorted(done_ns, at_ns).astype(float)
    return growth(at_ns, PAGE * np.round(bytes_of(requests) / PAGE), done_ns)


def test_a_kilobyte_a_request_is_found_in_twenty_seconds() -> None:
    found = grown(leaking(1024))
    assert found.leaks(ABOVE)
    assert found.slope.slope == pytest.approx(1024, rel=0.05)


def warming(n: Floats) -> Floats:
    return 11e6 + 8e3 * np.clip(n, 0, 120)


SOUND: dict[str, Shape] = {
    "nothing grows": lambda n: 11e6 + 0.0 * n,
    "a warm-up that settles": warming,
    "a sawtooth": lambda n: 11e6 + 1024.0 * np.mod(n, 120.0),
    "a cache that fills slowly": lambda n: 11e6 + 200.0 * n,
    "one jump": lambda n: 11e6 + 3e6 * np.heaviside(n - 250.0, 0.0),
    "a jump, and next to nothing else": lambda n: (
        11e6 + 30.0 * n + 9e6 * np.heaviside(n - 220.0, 0.0)
    ),
    "what shrinks": lambda n: 11e6 - 2000.0 * n,
}


@pytest.mark.parametrize("what", SOUND)
def test_what_is_no_leak_is_not_called_one(what: str) -> None:
    assert not grown(SOUND[what]).leaks(ABOVE)


def test_noise_of_a_restless_service_is_not_called_a_leak() -> None:
    rng = np.random.default_rng(3)

    def restless(n: Floats) -> Floats:
        return 55e6 + 4e6 * rng.standard_normal(len(n))

    flagged = [grown(restless).leaks(ABOVE) for _ in range(200)]
    assert sum(flagged) <= 2


def test_few_readings_or_few_requests_tell_nothing() -> None:
    assert not grown(leaking(4096), seconds=1.5).enough
    assert not grown(leaking(4096), per_second=2).enough


def test_what_a_control_grows_by_as_well_is_no_leak() -> None:
    found = grown(leaking(1024))
    assert found.leaks(ABOVE, 300)
    assert not found.leaks(ABOVE, 500)
