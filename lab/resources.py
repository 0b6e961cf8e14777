"""What was used, by whom, as a run's monitor saw it: columns in `resources.parquet`.

One row a reading, so that any Parquet reader (DuckDB, pandas) can query them; verifiers read them
as `History.resources`, a series at a time.
"""

# pyarrow has no types of its own.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lab.errors import LabError

FILE_NAME = "resources.parquet"
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Kind(StrEnum):
    """What is measured, and so whose name a source bears."""

    CONTAINER = "container"  # a service's cgroup
    AGENT = "agent"  # a tenant's own process
    SESSIONS = "sessions"  # what Postgres does for a tenant
    KEYS = "keys"  # what Redis holds for a tenant
    CLIENTS = "clients"  # connections of Redis, by their user or name
    METER = "meter"  # what a platform itself counts for a tenant


@dataclass(frozen=True, slots=True)
class Source:
    """What is measured, and the process that it was read from.

    name: the service, or the tenant as an `Op` names it; container: the engine's id; pid: on this
    host; started: when that process began, in clock ticks since boot, for a pid is no identity.
    """

    kind: Kind
    name: str
    container: str
    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. Units are in the names: `cpu_seconds` only grows, `memory_bytes` is a level."""

    source: Source
    at_ns: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One figure of one source over time; `at_ns` as in the history (since the run's epoch)."""

    at_ns: Integers
    values: Floats

    def __len__(self) -> int:
        return len(self.at_ns)

    def between(self, start_ns: int, end_ns: int) -> Series:
        """The readings from `start_ns` until before `end_ns`."""
        inside = (self.at_ns >= start_ns) & (self.at_ns < end_ns)
        return Series(self.at_ns[inside], self.values[inside])


@dataclass(frozen=True)
class Resources:
    """Every reading of a run; without a monitor there is none."""

    sources: tuple[Source, ...] = ()
    metrics: tuple[str, ...] = ()
    source: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    metric: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    at_ns: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    value: Floats = field(default_factory=lambda: np.empty(0, np.float64))

    def __len__(self) -> int:
        return len(self.value)

    def of(self, kind: Kind) -> tuple[Source, ...]:
        """The sources of a kind, in the order in which they came."""
        return tuple(source for source in self.sources if source.kind is kind)

    def series(self, source: Source, metric: str) -> Series:
        """One figure of one source, oldest first; empty when it was never read."""
        if source not in self.sources or metric not in self.metrics:
            return Series(self.at_ns[:0], self.value[:0])
        key = self._key(self.sources.index(source), self.metrics.index(metric))
        first, last = np.searchsorted(self._keys, [key, key + 1])
        rows = self._order[first:last]
        return Series(self.at_ns[rows], self.value[rows])

    @cached_property
    def _order(self) -> Integers:
        """The rows by source and metric, each in the order of time."""
        return np.lexsort((self.at_ns, self._row_keys))

    @cached_property
    def _keys(self) -> Integers:
        return self._row_keys[self._order]

    @cached_property
    def _row_keys(self) -> Integers:
        return self.source * len(self.metrics) + self.metric

    def _key(self, source: int, metric: int) -> int:
        return source * len(self.metrics) + metric


class Recorder:
    """Takes samples as they come, 8 bytes a reading and 12 a sample. One thread at a time."""

    def __init__(self, epoch_ns: int) -> None:
        self._epoch_ns = epoch_ns
        self._shapes: dict[tuple[Source, tuple[str, ...]], int] = {}
        self._shape, self._at, self._value = array("i"), array("q"), array("d")

    def take(self, sample: Sample) -> None:
        """Keep every figure of a sample; what the kernel does not tell is not a number."""
        shape = sample.source, tuple(sample.values)
        self._shape.append(self._shapes.setdefault(shape, len(self._shapes)))
        self._at.append(sample.at_ns - self._epoch_ns)
        self._value.extend(sample.values.values())

    def resources(self) -> Resources:
        """What was taken so far."""
        sources = {source: n for n, source in enumerate(dict.fromkeys(s for s, _ in self._shapes))}
        every = dict.fromkeys(name for _, names in self._shapes for name in names)
        metrics = {name: n for n, name in enumerate(every)}
        who = np.array([sources[source] for source, _ in self._shapes], np.int64)
        sizes = np.array([len(names) for _, names in self._shapes], np.int64)
        what = np.array([metrics[m] for _, names in self._shapes for m in names], np.int64)
        shape = np.array(self._shape, np.int64)
        size = sizes[shape]  # of each sample
        # Where a sample's metrics begin in `what`, less where its readings begin among all.
        shift = (np.cumsum(sizes) - sizes)[shape] - (np.cumsum(size) - size)
        return Resources(
            tuple(sources),
            tuple(metrics),
            np.repeat(who[shape], size),
            what[np.arange(len(self._value)) + np.repeat(shift, size)],
            np.repeat(np.array(self._at, np.int64), size),
            np.array(self._value, np.float64),
        )


def write(folder: Path, resources: Resources) -> None:
    """Write all readings into the run's folder. Raises LabError when the disk does not take it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def named(indices: Integers, names: Sequence[str]) -> object:
        words = pa.array(names, pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), words)

    who, each = resources.source, resources.sources
    numbers = np.array([(s.pid, s.started) for s in each], np.int64).reshape(-1, 2)
    table = pa.table(
        {
            "at_ns": resources.at_ns,
            "source": who,
            "kind": named(who, [s.kind.value for s in each]),
            "name": named(who, [s.name for s in each]),
            "container": named(who, [s.container for s in each]),
            "pid": numbers[who, 0],
            "started": numbers[who, 1],
            "metric": named(resources.metric, resources.metrics),
            "value": resources.value,
        }
    )
    path = folder / FILE_NAME
    part = path.with_name(path.name + ".part")
    try:
        pq.write_table(table, part, compression="zstd")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise LabError(f"the readings cannot be written: {error}", where=str(path)) from error


def read(folder: Path) -> Resources:
    """All readings of a run; none where nobody measured. Raises LabError for a damaged file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / FILE_NAME
    if not path.exists():
        return Resources()
    try:
        table = pq.read_table(path)
        source = table["source"].to_numpy()
        _, first = np.unique(source, return_index=True)
        rows = table.select([f.name for f in fields(Source)]).take(first).to_pylist()
        metric = table["metric"].combine_chunks().dictionary_encode()
        return Resources(
            tuple(
                Source(Kind(row["kind"]), row["name"], row["container"], row["pid"], row["started"])
                for row in rows
            ),
            tuple(metric.dictionary.to_pylist()),
            source,
            metric.indices.to_numpy().astype(np.int64),
            table["at_ns"].to_numpy(),
            table["value"].to_numpy(),
        )
    except (OSError, KeyError, pa.ArrowException, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise LabError(f"the readings are damaged: {why}", where=str(path)) from error
