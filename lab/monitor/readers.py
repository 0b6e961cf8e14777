"""Kept descriptors on the kernel's counters: one `pread` a reading, no path walked twice.

A descriptor of a process's file answers ESRCH once that process has gone, also when its pid has
been given again: what is read is always what was opened. Formats: proc(5), cgroups(7).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import IntEnum
from errno import EOPNOTSUPP
from pathlib import Path
from typing import Protocol

from lab.errors import LabError
from lab.procfs import PROC, cgroup_folders, cpu_clock, started_ticks
from lab.resources import Source

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Values = dict[str, float]
Parser = Callable[[bytes, Values], None]


class Pace(IntEnum):
    """How much is read at a tick; each pace reads what the ones before it read, too."""

    TICK = 0  # CPU time, which has to be seen fast
    LEVELS = 1  # what is held, and who waits for CPU
    SLOW = 2  # what costs more


TICK, LEVELS, SLOW = Pace  # to name one by its enum is slow in Python 3.11


class Reader(Protocol):
    """Something that can be read again and again."""

    @property
    def source(self) -> Source:
        """What is read."""
        ...

    def read(self, pace: Pace) -> Values:
        """The readings of this pace. Raises ProcessLookupError when the source has gone."""
        ...

    def close(self) -> None:
        """Give the descriptors back."""
        ...


class Files:
    """A few kernel files, kept open; each has a parser that adds what it finds."""

    def __init__(self, files: Iterable[tuple[Pace, Path, Parser]]) -> None:
        self._open: dict[Pace, list[tuple[int, Parser]]] = {pace: [] for pace in Pace}
        for pace, path, parser in files:
            with suppress(FileNotFoundError):  # a kernel without it: the reading is not there
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if _told(descriptor):
                    for each in (each for each in Pace if each >= pace):
                        self._open[each].append((descriptor, parser))

    def read(self, pace: Pace) -> Values:
        """All readings. Raises ProcessLookupError when what they are about has gone."""
        values: Values = {}
        for descriptor, parser in self._open[pace]:
            try:
                text = os.pread(descriptor, 8192, 0)
            except OSError as gone:  # ESRCH of /proc, ENODEV of a cgroup that was removed
                raise ProcessLookupError(str(gone)) from gone
            parser(text, values)
        return values

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor, _ in self._open[SLOW]:
            os.close(descriptor)
        self._open = {pace: [] for pace in Pace}


class ProcessReader:
    """One process: CPU time; resident memory; descriptors and bytes of I/O."""

    def __init__(self, source: Source) -> None:
        self.source, self._clock = source, cpu_clock(source.pid)
        proc = PROC / str(source.pid)
        self._files = Files(((LEVELS, proc / "statm", _statm), (SLOW, proc / "io", _process_io)))
        with _closed_unless_good(self):
            if started_ticks(source.pid) != source.started:
                raise ProcessLookupError(f"process {source.pid} is another one now")

    def read(self, pace: Pace) -> Values:
        """`cpu_seconds` of all its threads; `memory_bytes`; bytes of I/O and `descriptors`.

        The files tell whether the pid is still this process's. The clock does not: but no kernel
        gives all other pids out between two readings of levels.
        """
        values = self._files.read(pace)
        if pace is SLOW:
            values["descriptors"] = _descriptors(self.source.pid)
        try:
            values["cpu_seconds"] = time.clock_gettime_ns(self._clock) * 1e-9
        except OSError as gone:
            raise ProcessLookupError(str(gone)) from gone
        return values

    def close(self) -> None:
        """Give the descriptors back."""
        self._files.close()


class CgroupReader:
    """One container's cgroup, v1, v2 or both, found by one of its processes."""

    def __init__(self, source: Source, *, proc: Path = PROC) -> None:
        self.source = source
        self._files = Files(_files(cgroup_folders(source.pid, proc)))
        with _closed_unless_good(self):
            if not {"cpu_seconds", "memory_bytes"} <= self.read(LEVELS).keys():
                raise LabError("its cgroup cannot be read on this host", where=source.name)

    def read(self, pace: Pace) -> Values:
        """`cpu_seconds`; `memory_bytes`, and `cpu_stalled_seconds` where there is PSI; `pids`,
        `rss_bytes`, bytes of I/O, throttled time, kills for want of memory, other pressure.
        """
        return self._files.read(pace)

    def close(self) -> None:
        """Give the descriptors back."""
        self._files.close()


@contextmanager
def _closed_unless_good(reader: Reader) -> Generator[None]:
    """Whatever is raised while a reader is made, its descriptors do not stay open."""
    try:
        yield
    except BaseException:
        reader.close()
        raise


def _descriptors(pid: int) -> float:
    try:
        return float(len(os.listdir(f"/proc/{pid}/fd")))
    except FileNotFoundError as gone:
        raise ProcessLookupError(str(gone)) from gone


def _files(groups: Mapping[str, Path]) -> Iterator[tuple[Pace, Path, Parser]]:
    if "cpuacct" in groups:
        cpu, memory = groups.get("cpu", groups["cpuacct"]), groups["memory"]
        pids = groups.get("pids", groups["cpuacct"])
        yield TICK, groups["cpuacct"] / "cpuacct.usage", _number("cpu_seconds", 1e-9)
        yield LEVELS, memory / "memory.usage_in_bytes", _number("memory_bytes")
        yield SLOW, pids / "pids.current", _number("pids")
        throttled = _table({"throttled_time": ("throttled_seconds", 1e-9)})
        yield SLOW, cpu / "cpu.stat", throttled
        yield SLOW, memory / "memory.oom_control", _table({"oom_kill": ("oom_kills", 1.0)})
        yield SLOW, memory / "memory.failcnt", _number("memory_limit_hits")
        yield SLOW, memory / "memory.stat", _table({"total_rss": ("rss_bytes", 1.0)})
        if "blkio" in groups:
            yield SLOW, groups["blkio"] / "blkio.throttle.io_service_bytes", _blkio
    elif "" in groups:
        at = groups[""]
        yield TICK, at / "cpu.stat", _table({"usage_usec": ("cpu_seconds", 1e-6)})
        yield LEVELS, at / "memory.current", _number("memory_bytes")
        yield SLOW, at / "pids.current", _number("pids")
        throttled = _table({"throttled_usec": ("throttled_seconds", 1e-6)})
        yield SLOW, at / "cpu.stat", throttled
        yield SLOW, at / "memory.events", _table({"oom_kill": ("oom_kills", 1.0)})
        yield SLOW, at / "memory.stat", _table({"anon": ("rss_bytes", 1.0)})
        yield SLOW, at / "io.stat", _io_stat
    if "" in groups:  # with v1, too, where the host has both
        yield LEVELS, groups[""] / "cpu.pressure", _pressure("cpu_stalled_seconds")
        yield SLOW, groups[""] / "memory.pressure", _pressure("memory_stalled_seconds")
        yield SLOW, groups[""] / "io.pressure", _pressure("io_stalled_seconds")


def _told(descriptor: int) -> bool:
    """Whether the kernel has this file's readings at all; closed when not (PSI may be off)."""
    try:
        os.pread(descriptor, 1, 0)
    except OSError as error:
        if error.errno != EOPNOTSUPP:
            return True  # gone meanwhile, as the first reading will say
        os.close(descriptor)
        return False
    return True


def _number(name: str, factor: float = 1.0) -> Parser:
    def parse(text: bytes, values: Values) -> None:
        values[name] = int(text) * factor

    return parse


def _table(wanted: Mapping[str, tuple[str, float]]) -> Parser:
    """`key value` lines, of which a few are wanted: the others are not even split."""
    keys = [(f"\n{key} ".encode(), *place) for key, place in wanted.items()]

    def parse(text: bytes, values: Values) -> None:
        text = b"\n" + text
        for key, name, factor in keys:
            _, found, rest = text.partition(key)
            if found:
                values[name] = int(rest.partition(b"\n")[0]) * factor

    return parse


def _statm(text: bytes, values: Values) -> None:
    values["memory_bytes"] = float(int(text.split(b" ", 2)[1]) * PAGE_BYTES)


_process_io = _table(
    {"read_bytes:": ("io_read_bytes", 1.0), "write_bytes:": ("io_write_bytes", 1.0)}
)


def _blkio(text: bytes, values: Values) -> None:
    """`8:0 Read 4096` for every device and kind, and a `Total`."""
    values.update(io_read_bytes=0.0, io_write_bytes=0.0)
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in (b"Read", b"Write"):
            values["io_read_bytes" if words[1] == b"Read" else "io_write_bytes"] += int(words[2])


def _io_stat(text: bytes, values: Values) -> None:
    """`8:0 rbytes=1 wbytes=2 ...` for every device."""
    values.update(io_read_bytes=0.0, io_write_bytes=0.0)
    for line in text.splitlines():
        for word in line.split()[1:]:
            key, _, value = word.partition(b"=")
            if key in (b"rbytes", b"wbytes"):
                values["io_read_bytes" if key == b"rbytes" else "io_write_bytes"] += int(value)


def _pressure(name: str) -> Parser:
    """`some avg10=0.00 avg60=0.00 avg300=0.00 total=12` (microseconds), Linux's PSI."""

    def parse(text: bytes, values: Values) -> None:
        for line in text.splitlines():
            if line.startswith(b"some "):
                values[name] = int(line.rpartition(b"=")[2]) * 1e-6

    return parse
