"""Kept descriptors on the kernel's counters: one `pread` a reading, no path walked twice.

A descriptor of a process's file answers ESRCH once that process has gone, also when its pid has
been given again: what is read is always what was opened. Formats: proc(5), cgroups(7).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EOPNOTSUPP
from pathlib import Path
from typing import Protocol

from lab.errors import LabError
from lab.resources import Source

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Values = dict[str, float]
Parser = Callable[[bytes, Values], None]


class Reader(Protocol):
    """Something that can be read again and again."""

    @property
    def source(self) -> Source:
        """What is read."""
        ...

    def fast(self) -> Values:
        """What may be read at every tick. Raises ProcessLookupError when the source has gone."""
        ...

    def slow(self) -> Values:
        """What costs more, once a second. Raises ProcessLookupError when the source has gone."""
        ...

    def close(self) -> None:
        """Give the descriptors back."""
        ...


class Files:
    """A few kernel files, kept open; each has a parser that adds what it finds."""

    def __init__(self, parsers: Mapping[Path, Parser]) -> None:
        self._open: list[tuple[int, Parser]] = []
        for path, parser in parsers.items():
            with suppress(FileNotFoundError):  # a kernel without it: the reading is not there
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if _told(descriptor):
                    self._open.append((descriptor, parser))

    def read(self) -> Values:
        """All readings. Raises ProcessLookupError when what they are about has gone."""
        values: Values = {}
        for descriptor, parser in self._open:
            try:
                text = os.pread(descriptor, 8192, 0)
            except OSError as gone:  # ESRCH of /proc, ENODEV of a cgroup that was removed
                raise ProcessLookupError(str(gone)) from gone
            parser(text, values)
        return values

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor, _ in self._open:
            os.close(descriptor)
        self._open.clear()


class ProcessReader:
    """One process: CPU time, resident memory; descriptors and bytes of I/O among the slow ones."""

    def __init__(self, source: Source) -> None:
        self._source = source
        proc = Path(f"/proc/{source.pid}")
        self._clock = (~source.pid << 3) | 2  # as clock_getcpuclockid(3) makes it
        self._fast = Files({proc / "statm": _statm})
        self._slow = Files({proc / "io": _process_io})
        with _closed_unless_good(self):
            if started_ticks(source.pid) != source.started:
                raise ProcessLookupError(f"process {source.pid} is another one now")

    @property
    def source(self) -> Source:
        """The process."""
        return self._source

    def fast(self) -> Values:
        """`cpu_seconds` of all its threads, and `memory_bytes`.

        The descriptor goes first: it tells whether the pid is still this process's.
        """
        values = self._fast.read()
        try:
            values["cpu_seconds"] = time.clock_gettime_ns(self._clock) * 1e-9
        except OSError as gone:
            raise ProcessLookupError(str(gone)) from gone
        return values

    def slow(self) -> Values:
        """`io_read_bytes`, `io_write_bytes` and `descriptors`."""
        values = self._slow.read()
        try:
            values["descriptors"] = float(len(os.listdir(f"/proc/{self._source.pid}/fd")))
        except FileNotFoundError as gone:
            raise ProcessLookupError(str(gone)) from gone
        return values

    def close(self) -> None:
        """Give the descriptors back."""
        self._fast.close()
        self._slow.close()


class CgroupReader:
    """One container's cgroup, v1, v2 or both, found by one of its processes."""

    def __init__(self, source: Source, *, proc: Path = Path("/proc")) -> None:
        self._source = source
        groups = cgroup_folders(source.pid, proc)
        self._fast = Files(dict(_fast_files(groups)))
        self._slow = Files(dict(_slow_files(groups)))
        with _closed_unless_good(self):
            if not {"cpu_seconds", "memory_bytes"} <= self.fast().keys():
                raise LabError("its cgroup cannot be read on this host", where=source.name)

    @property
    def source(self) -> Source:
        """The container, by its first process."""
        return self._source

    def fast(self) -> Values:
        """`cpu_seconds`, `memory_bytes`, `pids`, and `cpu_stalled_seconds` where there is PSI."""
        return self._fast.read()

    def slow(self) -> Values:
        """`rss_bytes`, bytes of I/O, throttled time, kills for want of memory, other pressure."""
        return self._slow.read()

    def close(self) -> None:
        """Give the descriptors back."""
        self._fast.close()
        self._slow.close()


@contextmanager
def _closed_unless_good(reader: Reader) -> Generator[None]:
    """Whatever is raised while a reader is made, its descriptors do not stay open."""
    try:
        yield
    except BaseException:
        reader.close()
        raise


def started_ticks(pid: int) -> int:
    """When a process began, in clock ticks since boot. Raises ProcessLookupError without one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessLookupError(f"no process {pid}") from gone
    return int(stat.rpartition(")")[2].split()[19])


def cgroup_folders(pid: int, proc: Path = Path("/proc")) -> dict[str, Path]:
    """Controller -> the folder of the process's cgroup in its tree; '' is the unified one (v2)."""
    mounts = dict(_mounted((proc / "mounts").read_text()))
    found: dict[str, Path] = {}
    for line in (proc / str(pid) / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in mounts:
                found[name] = mounts[name] / path.lstrip("/")
    return found


def _mounted(table: str) -> Iterator[tuple[str, Path]]:
    """Controller -> where it is mounted, from a mount table; '' for cgroup2."""
    for line in table.splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            yield "", Path(place)
        elif kind == "cgroup":
            for option in options.split(","):
                yield option, Path(place)


def _fast_files(groups: Mapping[str, Path]) -> Iterator[tuple[Path, Parser]]:
    if "cpuacct" in groups:
        yield groups["cpuacct"] / "cpuacct.usage", _number("cpu_seconds", 1e-9)
        yield groups["memory"] / "memory.usage_in_bytes", _number("memory_bytes")
        yield groups.get("pids", groups["cpuacct"]) / "pids.current", _number("pids")
    elif "" in groups:
        yield groups[""] / "cpu.stat", _table({"usage_usec": ("cpu_seconds", 1e-6)})
        yield groups[""] / "memory.current", _number("memory_bytes")
        yield groups[""] / "pids.current", _number("pids")
    if "" in groups:  # with v1, too, where the host has both
        yield groups[""] / "cpu.pressure", _pressure("cpu_stalled_seconds")


def _slow_files(groups: Mapping[str, Path]) -> Iterator[tuple[Path, Parser]]:
    if "cpuacct" in groups:
        cpu, memory = groups.get("cpu", groups["cpuacct"]), groups["memory"]
        yield cpu / "cpu.stat", _table({"throttled_time": ("throttled_seconds", 1e-9)})
        yield memory / "memory.oom_control", _table({"oom_kill": ("oom_kills", 1.0)})
        yield memory / "memory.failcnt", _number("memory_limit_hits")
        yield memory / "memory.stat", _table({"total_rss": ("rss_bytes", 1.0)})
        if "blkio" in groups:
            yield groups["blkio"] / "blkio.throttle.io_service_bytes", _blkio
    elif "" in groups:
        at = groups[""]
        yield at / "cpu.stat", _table({"throttled_usec": ("throttled_seconds", 1e-6)})
        yield at / "memory.events", _table({"oom_kill": ("oom_kills", 1.0)})
        yield at / "memory.stat", _table({"anon": ("rss_bytes", 1.0)})
        yield at / "io.stat", _io_stat
    if "" in groups:
        yield groups[""] / "memory.pressure", _pressure("memory_stalled_seconds")
        yield groups[""] / "io.pressure", _pressure("io_stalled_seconds")


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
    """`key value` lines."""
    keys = {key.encode(): place for key, place in wanted.items()}

    def parse(text: bytes, values: Values) -> None:
        for line in text.splitlines():
            key, _, value = line.partition(b" ")
            if key in keys:
                name, factor = keys[key]
                values[name] = int(value) * factor

    return parse


def _statm(text: bytes, values: Values) -> None:
    values["memory_bytes"] = float(int(text.split(b" ", 2)[1]) * PAGE_BYTES)


def _process_io(text: bytes, values: Values) -> None:
    _table({"read_bytes:": ("io_read_bytes", 1.0), "write_bytes:": ("io_write_bytes", 1.0)})(
        text, values
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
