"""Behind the shield: every container of the run, and what forwards to it, in one heavy cgroup."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from lab.engine.belongings import residue
from lab.engine.shield import Shield, forwarders, groups
from lab.stack.file import load
from lab.stack.standing import Stack, standing
from tests.docker.standing import SMALLEST, fresh_run, two_sessions

pytestmark = pytest.mark.docker


def cpu_group(pid: int) -> str:
    """Where the kernel keeps a process, for CPU time."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    rows = (line.split(":", 2) for line in lines)
    return next(path for _, names, path in rows if "cpu" in names.split(",") or not names)


def first_processes(stack: Stack) -> list[int]:
    """On this host: the first process of every container."""
    client = stack.start.engine.client
    seen = [client.inspect_container(container) for container in stack.start.ids.values()]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - an untyped package
    return [int(each["State"]["Pid"]) for each in seen]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def test_the_whole_run_is_in_one_group_of_the_greatest_weight_and_the_group_goes_with_it(
    tmp_path: Path,
) -> None:
    run, said = fresh_run(), list[str]()
    up = standing(
        load(SMALLEST),
        run=run,
        folder=tmp_path,
        cohorts=("quiet", "noisy"),
        shielded=True,
        say=said.append,
    )
    with start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(up) as stack:
            shield = stack.shield
            assert isinstance(shield, Shield), said
            weight = shield.folder / ("cpu.shares" if shield.version == 1 else "cpu.weight")
            assert weight.read_text().strip() == ("262144" if shield.version == 1 else "10000")
            ours = [*first_processes(stack), *forwarders(stack.start.ports.values())]
            assert len(ours) > len(stack.start.ids)
            assert all(shield.parent in cpu_group(pid) for pid in ours)
            driver, calm, loud = portal.call(two_sessions, stack, "shielded")
            for closing in (calm.close, loud.close, driver.close):
                portal.call(closing)
        assert residue(run) == ()
    assert groups(run) == ()
