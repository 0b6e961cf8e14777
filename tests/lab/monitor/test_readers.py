"""A container's cgroup reads the same with v1, v2 and both: recorded trees of each.

The files are as Linux 5.15 and 6.18 show them (proc(5), cgroups(7)), for a container that holds
12 MB and has used 3.5 s of CPU.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.monitor import Kind, Source
from lab.monitor.readers import CgroupReader, Pace
from lab.procfs import cgroup_folders

PID = 7
IO_V1 = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 12288\nTotal 12288\n"
STALLED = "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\nfull avg10=0.00 total=0\n"
V1 = {
    "cpu/docker/abc/cpuacct.usage": "3500000000\n",
    "cpu/docker/abc/cpu.stat": "nr_periods 4\nnr_throttled 2\nthrottled_time 1500000000\n",
    "memory/docker/abc/memory.usage_in_bytes": "12000000\n",
    "memory/docker/abc/memory.stat": "cache 1\nrss 2\ntotal_cache 3000000\ntotal_rss 9000000\n",
    "memory/docker/abc/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory/docker/abc/memory.failcnt": "3\n",
    "pids/docker/abc/pids.current": "5\n",
    "blkio/docker/abc/blkio.throttle.io_service_bytes": IO_V1,
}
MOUNTS_V1 = [
    "cgroup {at}/cpu cgroup rw,relatime,cpu,cpuacct 0 0",
    "cgroup {at}/memory cgroup rw,memory 0 0",
    "cgroup {at}/pids cgroup rw,pids 0 0",
    "cgroup {at}/blkio cgroup rw,blkio 0 0",
    "cgroup {at}/systemd cgroup rw,xattr,name=systemd 0 0",
]
GROUPS_V1 = [
    "5:cpu,cpuacct:/docker/abc",
    "4:memory:/docker/abc",
    "3:pids:/docker/abc",
    "2:blkio:/docker/abc",
    "1:name=systemd:/docker/abc",
]
PRESSURE = {f"unified/docker/abc/{what}.pressure": STALLED for what in ("cpu", "memory", "io")}
V2 = {
    "docker-abc.scope/cpu.stat": (
        "usage_usec 3500000\nuser_usec 3000000\nsystem_usec 500000\n"
        "nr_periods 4\nnr_throttled 2\nthrottled_usec 1500000\n"
    ),
    "docker-abc.scope/memory.current": "12000000\n",
    "docker-abc.scope/memory.stat": "anon 9000000\nfile 3000000\nanon_thp 0\n",
    "docker-abc.scope/memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
    "docker-abc.scope/pids.current": "5\n",
    "docker-abc.scope/io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
    "docker-abc.scope/cpu.pressure": STALLED,
    "docker-abc.scope/memory.pressure": STALLED,
    "docker-abc.scope/io.pressure": STALLED,
}
TREES = {
    "v1": (V1, MOUNTS_V1, GROUPS_V1),
    "v2": (V2, ["cgroup2 {at} cgroup2 rw,nsdelegate 0 0"], ["0::/docker-abc.scope"]),
    "hybrid": (
        V1 | PRESSURE,
        [*MOUNTS_V1, "cgroup2 {at}/unified cgroup2 rw 0 0"],
        [*GROUPS_V1, "0::/docker/abc"],
    ),
}
ALIKE = {
    "cpu_seconds": 3.5,
    "memory_bytes": 12e6,
    "rss_bytes": 9e6,
    "pids": 5.0,
    "throttled_seconds": 1.5,
    "oom_kills": 1.0,
    "io_read_bytes": 4096.0,
    "io_write_bytes": 8192.0,
}
STALLS = {f"{what}_stalled_seconds": 0.25 for what in ("cpu", "memory", "io")}


def tree(at: Path, name: str) -> Path:
    """The recorded host: its cgroup files, and a /proc that leads to them."""
    files, mounts, groups = TREES[name]
    for path, text in files.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_text(text)
    proc = at / "proc"
    (proc / str(PID)).mkdir(parents=True)
    (proc / "mounts").write_text("".join(f"{line.format(at=at)}\n" for line in mounts))
    (proc / str(PID) / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    return proc


@pytest.mark.parametrize("name", TREES)
def test_a_container_reads_the_same_whatever_the_host_has(name: str, tmp_path: Path) -> None:
    source = Source(Kind.CONTAINER, "app", "abc", PID, 1)
    reader = CgroupReader(source, proc=tree(tmp_path, name))
    seen = reader.read(Pace.SLOW)
    reader.close()
    assert seen == ALIKE | (STALLS if name != "v1" else {}) | (
        {"memory_limit_hits": 3.0} if name != "v2" else {}
    )


@pytest.mark.parametrize("name", TREES)
def test_every_pace_reads_what_is_worth_it_and_what_the_paces_before_it_read(
    name: str, tmp_path: Path
) -> None:
    reader = CgroupReader(Source(Kind.CONTAINER, "app", "abc", PID, 1), proc=tree(tmp_path, name))
    seen = {pace: reader.read(pace).keys() for pace in Pace}
    reader.close()
    stalls = {"cpu_stalled_seconds"} if name != "v1" else set[str]()
    assert seen[Pace.TICK] == {"cpu_seconds"}
    assert seen[Pace.LEVELS] == {"cpu_seconds", "memory_bytes"} | stalls
    assert seen[Pace.LEVELS] < seen[Pace.SLOW]


def test_a_host_whose_cgroup_cannot_be_read_is_told_and_no_other_is_read(tmp_path: Path) -> None:
    proc = tree(tmp_path, "v2")
    (proc / str(PID) / "cgroup").write_text("0::/somewhere/else\n")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LabError, match="cannot be read on this host"):
        CgroupReader(Source(Kind.CONTAINER, "app", "abc", PID, 1), proc=proc)
    assert len(os.listdir("/proc/self/fd")) == before


def test_folders_of_every_tree_are_found(tmp_path: Path) -> None:
    found = cgroup_folders(PID, tree(tmp_path, "hybrid"))
    assert found["cpuacct"] == tmp_path / "cpu/docker/abc"
    assert found["memory"] == tmp_path / "memory/docker/abc"
    assert found[""] == tmp_path / "unified/docker/abc"
