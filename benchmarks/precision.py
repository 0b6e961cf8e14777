"""How exactly faults do what they are asked, and how soon, beside Toxiproxy driven by hand.

    python -m benchmarks.precision

On one stack, in one run: each fault by the lab (undo name, read-back, deadline), and the same toxic
by two plain HTTP calls to the same Toxiproxy. The round trips go from this host through the proxy
to the smallest system's Redis. `observed` is what was added to the median of a calm moment;
`under load` is beside 2,000 other requests a second through the same proxy.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from statistics import median

import requests
from anyio.from_thread import BlockingPortal, start_blocking_portal

from benchmarks.pings import Trip, flood, rate_kbps, trips, watch
from benchmarks.standing import leased
from faults.links_more import Bandwidth
from faults.netns import Isolate, PacketLoss, Rate
from faults.network import Latency
from lab.fault import Fault
from lab.hands import Lab
from lab.hands.real.links import ToxiproxyLinks
from lab.stack.file import CONTROL_PORT, load
from lab.stack.standing import Stack
from lab.system import Endpoint

SYSTEM = Path("compose/minimal")
LINK = "observer@redis"
"""The lab's own way to the store, which no experiment may fault: nobody else is on it."""

DELAYS = {1: 100, 10: 50, 100: 10, 1000: 4}
"""Milliseconds asked for, and round trips on each of the connections."""
CONNECTIONS, WARM_TRIPS = 8, 50
RATE_KBPS, LOSS_PERCENT, TRANSFER_BYTES = 500, 10.0, 1_000_000
REPETITIONS, STEP_SECONDS = 7, 0.3
ONSET_MS = 50


@dataclass(frozen=True)
class Bench:
    """The stack, the way in, and a process that measures."""

    stack: Stack
    lab: Lab
    at: tuple[str, int]
    control: str
    folder: Path
    pool: ProcessPoolExecutor
    portal: BlockingPortal

    def do(self, work: Callable[[Lab], object]) -> None:
        """Run a fault's coroutine on the stack's loop."""
        self.portal.call(work, self.lab)  # pyright: ignore[reportArgumentType] - a coroutine function

    def trips(self, connections: int, count: int, seconds: float = 60.0) -> list[Trip]:
        """See `pings.trips`."""
        return self.pool.submit(trips, self.at, connections, count, seconds).result()


@dataclass(frozen=True)
class Way:
    """A way to put a fault in place and to take it away."""

    name: str
    inject: Callable[[], object]
    heal: Callable[[], object]


def by_lab(bench: Bench, fault: Fault) -> Way:
    """As an experiment does."""
    return Way("lab", lambda: bench.do(fault.inject), lambda: bench.do(fault.heal))


def by_hand(bench: Bench, kind: str, **attributes: int) -> Way:
    """As a script does: one request to put the toxic on, and one to take it off."""
    path = f"{bench.control}/proxies/{LINK}/toxics"
    body = {"name": "by-hand", "type": kind, "stream": "downstream", "attributes": attributes}
    return Way(
        "by hand",
        lambda: requests.post(path, json=body, timeout=5).raise_for_status(),
        lambda: requests.delete(f"{path}/by-hand", timeout=5).raise_for_status(),
    )


@contextmanager
def held(way: Way) -> Generator[None]:
    """The fault, for the body."""
    way.inject()
    try:
        yield
    finally:
        way.heal()


@contextmanager
def benched() -> Generator[Bench]:
    """The smallest system, standing."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, start_blocking_portal() as portal:
        up = leased(load(SYSTEM), Path(folder))
        with portal.wrap_async_context_manager(up) as stack:
            at = stack.site.observers["redis"]
            port = stack.start.ports[CONTROL_PORT]
            links = ToxiproxyLinks(Endpoint("127.0.0.1", port), (LINK,))
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                yield Bench(
                    stack, replace(stack.lab, links=links), (at.host, at.port),
                    f"http://127.0.0.1:{port}", Path(folder), pool, portal,
                )  # fmt: skip
            links.close()


@contextmanager
def loaded(bench: Bench, *, on: bool) -> Generator[None]:
    """Load beside the measurement, where it is wanted."""
    if not on:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=flood, args=(bench.at,))
    process.start()
    time.sleep(STEP_SECONDS)
    try:
        yield
    finally:
        process.kill()
        process.join()


def latencies(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Asked and observed delays, by the lab and by hand, calm and under load."""
    for busy in (False, True):
        with loaded(bench, on=busy):
            for asked, count in DELAYS.items():
                seen = {
                    way.name: _added_ms(bench, way, count)
                    for way in (
                        by_lab(bench, Latency(LINK, asked)),
                        by_hand(bench, "latency", latency=asked, jitter=0),
                    )
                }
                yield _row(f"latency {asked} ms{', load' if busy else ''}", asked, seen)


def _added_ms(bench: Bench, way: Way, count: int) -> list[float]:
    """What each trip took longer than the median of a moment before."""
    calm_ms = quantile([trip.ms for trip in bench.trips(CONNECTIONS, WARM_TRIPS)], 0.5)
    with held(way):
        return [trip.ms - calm_ms for trip in bench.trips(CONNECTIONS, count)]


def rates(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Asked and observed rates of one transfer; the second is the service's own line."""
    ways = (
        by_lab(bench, Bandwidth(LINK, RATE_KBPS)),
        by_hand(bench, "bandwidth", rate=RATE_KBPS),
        by_lab(bench, Rate("redis", RATE_KBPS)),
    )
    seen: list[float] = []
    for way in ways:
        with held(way):
            seen.append(bench.pool.submit(rate_kbps, bench.at, TRANSFER_BYTES).result())
    lab, hand, line = ([value] for value in seen)
    yield _row(f"bandwidth {RATE_KBPS} kB/s", RATE_KBPS, {"lab": lab, "by hand": hand})
    yield _row(f"rate {RATE_KBPS} kB/s (tbf)", RATE_KBPS, {"lab": line})


def losses(bench: Bench) -> Iterator[tuple[str, ...]]:
    """Asked and counted packet loss; Toxiproxy, which is above packets, has none."""
    fault = PacketLoss("redis", LOSS_PERCENT)
    before: dict[str, float] = {}
    with held(by_lab(bench, fault)):
        bench.trips(CONNECTIONS * 2, 30, seconds=10)
        before |= bench.portal.call(fault.observe, bench.lab)
    met, dropped = sorted(before.values(), reverse=True)
    seen = {"lab": [100 * dropped / met]}
    yield _row(f"packet loss {LOSS_PERCENT:g} % of {met:.0f}", LOSS_PERCENT, seen)


def onsets(bench: Bench) -> Iterator[tuple[str, ...]]:
    """From the command to the first trip that feels it, and from the heal to one that does not.

    A trip that is under way at the heal is still felt to its end, and after a cut TCP waits before
    it sends again (RFC 6298): both are in the last column.
    """
    ways = (
        by_lab(bench, Latency(LINK, ONSET_MS)),
        by_hand(bench, "latency", latency=ONSET_MS, jitter=0),
        by_lab(bench, Isolate("redis")),
    )
    for way, name in zip(ways, ("latency, lab", "latency, by hand", "isolate, lab"), strict=True):
        times = [_onset(bench, way) for _ in range(REPETITIONS)]
        yield (
            name,
            *(f"{median(column):.1f} ({max(column):.1f})" for column in zip(*times, strict=True)),
        )


def _onset(bench: Bench, way: Way) -> tuple[float, float, float, float]:
    """Milliseconds: the inject call, to its first effect, the heal call, to its last effect."""
    stop = bench.folder / token_hex(4)
    watching = bench.pool.submit(watch, bench.at, stop, ONSET_MS / 2)
    time.sleep(STEP_SECONDS)
    asked = time.monotonic_ns()
    way.inject()
    injected = time.monotonic_ns()
    time.sleep(STEP_SECONDS)
    healing = time.monotonic_ns()
    way.heal()
    healed = time.monotonic_ns()
    stop.touch()
    seen = watching.result()
    first = next(t.sent_ns for t in seen if t.ms > ONSET_MS / 2 and t.sent_ns > asked)
    quick = next(t.sent_ns for t in seen if t.ms < ONSET_MS / 2 and t.sent_ns > healing)
    spans = (injected - asked, first - asked, healed - healing, quick - healing)
    return tuple(span / 1e6 for span in spans)  # type: ignore[return-value] - four go in


def _row(what: str, asked: float, seen: dict[str, list[float]]) -> tuple[str, ...]:
    """Median and p99 by each way, the lab's error, and the ratio of the two medians."""
    lab, hand = seen["lab"], seen.get("by hand", [])
    middle = quantile(lab, 0.5)
    ratio = f"{middle / quantile(hand, 0.5):.3f}" if hand else "-"
    beside = (f"{quantile(hand, 0.5):.2f}", f"{quantile(hand, 0.99):.2f}") if hand else ("-", "-")
    error = f"{100 * (middle / asked - 1):+.1f} %"
    return (
        what,
        f"{middle:.2f}",
        f"{quantile(lab, 0.99):.2f}",
        error,
        *beside,
        ratio,
        str(len(lab)),
    )


def quantile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[min(int(len(ranked) * share), len(ranked) - 1)]


def main() -> None:
    """Measure and print both tables."""
    began = time.monotonic()
    with benched() as bench:
        head = ("", "lab p50", "lab p99", "error", "by hand p50", "p99", "lab/hand", "n")
        _print(head, [*latencies(bench), *rates(bench), *losses(bench)])
        head = (
            "ms, median (worst)",
            "inject call",
            "to first effect",
            "heal call",
            "to last effect",
        )
        _print(head, list(onsets(bench)))
    print(f"in {time.monotonic() - began:.0f} s")


def _print(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        print("  ".join(cells))
    print()


if __name__ == "__main__":
    main()
