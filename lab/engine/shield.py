# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""A run's own cgroup, with the greatest CPU weight there is: strangers on the host lose, tenants
compete inside it exactly as before.

On a busy host an honest judge says UNKNOWN nearly always; behind the shield it can decide. It is
made where this process may write the host's cgroups, and the report says whether it was. Weights
are the kernel's: cpu.shares 2 to 262144 (cgroup v1), cpu.weight 1 to 10000 (cgroups(7)).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.engine.api import Engine, told
from lab.procfs import cgroup_folders

CGROUPS = Path("/sys/fs/cgroup")
LEAF = "lab"
"""Where the lab's own processes of the run go: the generator, the engine's port forwarders."""

_OWN_WEIGHT = {1: ("cpu.shares", 262144), 2: ("cpu.weight", 10000)}
_LEAF_WEIGHT = {1: ("cpu.shares", 8192), 2: ("cpu.weight", 800)}
"""Inside, the generator weighs eight services, so that it is not late when they are busy."""


@dataclass(frozen=True, slots=True)
class Shield:
    """The cgroup of one run; `version` and `driver` are the engine's."""

    run: str
    version: int
    driver: str
    root: Path = CGROUPS

    @property
    def parent(self) -> str:
        """What the engine is told as `cgroup_parent`."""
        if self.driver == "systemd":  # a dash would nest slices
            return f"crosstalk_{self.run.replace('-', '_')}.slice"
        return f"/crosstalk-{self.run}"

    @property
    def folder(self) -> Path:
        """The group in the CPU controller's tree."""
        return self._controller / self.parent.strip("/")

    @property
    def _controller(self) -> Path:
        return self.root if self.version == 2 else self.root / "cpu"

    def missing(self) -> str:
        """Why there can be no shield here; '' when there can."""
        name, _ = _OWN_WEIGHT[self.version]
        if not self._controller.is_dir():
            return f"no CPU controller at {self._controller}"
        try:
            probe = self._controller / f"crosstalk-probe-{self.run}"
            probe.mkdir()
        except OSError as refused:
            return f"the host's cgroups cannot be written ({refused.strerror})"
        found = (probe / name).exists()
        probe.rmdir()
        return "" if found else f"{name} is not there"

    def up(self) -> None:
        """Give the group its weight, and make the leaf; the engine may have made the group."""
        (self.folder / LEAF).mkdir(parents=True, exist_ok=True)
        name, weight = _OWN_WEIGHT[self.version]
        (self.folder / name).write_text(str(weight))
        leaf, own = self.folder / LEAF, _LEAF_WEIGHT[self.version]
        if (leaf / own[0]).exists():  # v2 shows it once the controller is handed down
            (leaf / own[0]).write_text(str(own[1]))

    def take(self, pids: Iterable[int]) -> None:
        """Move processes of the run behind the shield; one that has ended is fine."""
        for pid in pids:
            with suppress(ProcessLookupError):
                (self.folder / LEAF / "cgroup.procs").write_text(str(pid))


def shield_of(engine: Engine, run: str, say: Callable[[str], None]) -> Shield | None:
    """The shield that a run can have here; where it can have none, that is said."""
    info = told(engine.client.info)
    shield = Shield(run, int(str(info.get("CgroupVersion", 1))), str(info.get("CgroupDriver")))
    if why := shield.missing():
        say(f"no shield: {why}")
        return None
    return shield


@contextmanager
def sheltered(take: Callable[[int], None]) -> Generator[None]:
    """This process behind the shield for as long as the block lasts, and back where it was then.

    take: as `Shield.take` for one process; one that does nothing is fine.
    """
    groups = cgroup_folders(os.getpid())
    home = groups.get("cpu", groups.get(""))
    take(os.getpid())
    try:
        yield
    finally:
        if home is not None:
            with suppress(OSError):  # it may not be written: then it was never left
                (home / "cgroup.procs").write_text(str(os.getpid()))


def forwarders(ports: Iterable[int]) -> tuple[int, ...]:
    """The engine's processes that forward these host ports: all that tenants send passes them."""
    wanted = {str(port) for port in ports}
    return tuple(pid for pid, args in _commands() if _forwards(args, wanted))


def _forwards(args: list[str], ports: set[str]) -> bool:
    """docker-proxy's command line: `-host-port N` among its words."""
    if not args or not args[0].endswith("docker-proxy") or "-host-port" not in args:
        return False
    return args[args.index("-host-port") + 1] in ports


def _commands() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended meanwhile
                yield int(entry.name), (entry / "cmdline").read_text(errors="replace").split("\0")


def groups(run: str, root: Path = CGROUPS) -> tuple[Path, ...]:
    """Every cgroup of the run on this host, in every controller's tree, the innermost first.

    On v1 the engine makes the parent in each controller, and leaves it there.
    """
    names = {f"crosstalk-{run}", f"crosstalk_{run.replace('-', '_')}.slice"}
    trees = (root, *(tree for tree in root.iterdir() if tree.is_dir())) if root.is_dir() else ()
    tops = {tree / name for tree in trees for name in names if (tree / name).is_dir()}
    # They come and go meanwhile, which os.walk does not mind.
    inner = {Path(path) for top in tops for path, _, _ in os.walk(top)}
    return tuple(sorted(inner, key=lambda path: len(path.parts), reverse=True))


def lower(run: str, root: Path = CGROUPS) -> tuple[str, ...]:
    """Remove the run's cgroups; returns what was there. One still in use is left: look again."""
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", run):
        return ()
    there = groups(run, root)
    for path in there:
        with suppress(OSError):
            path.rmdir()
    return tuple(f"cgroup {path.relative_to(root)}" for path in there)
