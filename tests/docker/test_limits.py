"""A container that had none, or whole CPUs: afterwards the kernel's files are as before."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from lab.engine.api import Engine, engine, labels
from lab.engine.belongings import sweep
from lab.engine.limits import label_of
from lab.hands import Limits
from tests.docker.standing import fresh_run

pytestmark = pytest.mark.docker
IMAGE = "redis:7.0.15-bookworm"
FILES = (
    "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max 2>/dev/null || cat "
    "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes "
    "cpu/cpu.cfs_quota_us pids/pids.max"
)
"""Where cgroup v2 keeps limits, and where v1 does."""


@contextmanager
def container(folder: Path, cores: float) -> Generator[tuple[Engine, str]]:
    """A container that sleeps, created with this many cores and no other limit."""
    run = fresh_run()
    marks = labels(run, str(folder)) | label_of(cores=cores, memory_bytes=0, pids=0)
    client = docker.from_env()
    try:
        made = client.containers.run(  # pyright: ignore[reportUnknownMemberType]
            IMAGE, "sleep 60", detach=True, labels=marks, init=True, nano_cpus=round(cores * 1e9)
        )
        with engine() as own:
            yield own, str(made.id)
    finally:
        client.close()
        sweep(run)


@pytest.mark.parametrize("cores", [0.0, 1.5])
def test_what_was_without_a_limit_is_so_again(cores: float, tmp_path: Path) -> None:
    with container(tmp_path, cores) as (own, box):
        before = own.execute(box, ["sh", "-c", FILES])
        own.limit(box, "memory_bytes", 32 * 2**20)
        own.limit(box, "cores", 0.3)
        own.limit(box, "pids", 20)
        assert own.state(box).limits == Limits(0.3, 32 * 2**20, 20)
        assert own.execute(box, ["sh", "-c", FILES]) != before
        own.limit(box, "memory_bytes", 0)
        own.limit(box, "cores", cores)
        own.limit(box, "pids", 0)
        assert own.state(box).limits == Limits(cores, 0, 0)
        assert own.execute(box, ["sh", "-c", FILES]) == before
