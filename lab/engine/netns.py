# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""Work in the network namespace of one of a run's containers, by a sidecar that lives for it.

The sidecar is the only one with the right to change a namespace (NET_ADMIN), and it shares the
container's own: the host's is never entered. Before it does anything it looks whether its
namespace is the one that the container itself is in. The recipe is `compose/images/netns`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from docker.errors import ImageNotFound, NotFound
from docker.types import LogConfig

from lab.engine.api import RUN, SERVICE, Engine, told
from lab.engine.netfilter import Namespace, parsed
from lab.engine.things import Found
from lab.errors import LabError

NETNS_IMAGE = "crosstalk/netns:1"
SIDECAR = "sidecar"
"""What a sidecar is called where the run's services are named."""

_IDENTITY = re.compile(r"net:\[\d+\]")


@dataclass(frozen=True, slots=True)
class Entry:
    """The way into the namespace of a container of a run, for as long as it is not started anew."""

    engine: Engine
    container: str
    namespace: str
    marks: Mapping[str, str]
    where: str

    def work(self, verb: str, *words: str) -> Namespace:
        """Do one piece of work; returns what is there then. Raises LabError when it is refused."""
        command = [self.namespace, verb, *words]
        status, output, said = sidecar(self.engine, self.container, command, self.marks)
        if status != 0:
            raise LabError(f"its network namespace: {_last(said) or status}", where=self.where)
        return parsed(output)


def enter(engine: Engine, run: str, container: str) -> Entry:
    """The way in. Raises LabError when it is not a container of `run`, or does not run."""
    labels = engine.placed(container).labels
    if labels.get(RUN) != run:
        raise LabError("it is not a container of this run", where=f"container {container[:12]}")
    where = f"service {labels.get(SERVICE, '')}"
    marks = {**_own(labels), SERVICE: SIDECAR}
    return Entry(engine, container, identity(engine, container, where), marks, where)


def identity(engine: Engine, container: str, where: str) -> str:
    """The namespace that the container's own processes are in, as in `net:[4026532184]`."""
    status, output = engine.execute(container, ["readlink", "/proc/self/ns/net"])
    told_it = output.decode(errors="replace").strip()
    if status != 0 or not _IDENTITY.fullmatch(told_it):
        raise LabError(
            "its network namespace cannot be told",
            where=where,
            mend="it must run, not be paused, and have `readlink` in its image",
        )
    return told_it


def sidecar(
    engine: Engine, container: str, command: Sequence[str], marks: Mapping[str, str]
) -> tuple[int, str, str]:
    """One sidecar, from creation to removal: its exit status, what it told, and why it failed."""
    client = engine.client
    host = client.create_host_config(
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN", "NET_RAW"],
        network_mode=f"container:{container}",
        security_opt=["no-new-privileges"],
        log_config=LogConfig(type="json-file"),
    )

    def work() -> tuple[int, str, str]:
        made = client.create_container(
            NETNS_IMAGE, list(command), labels=dict(marks), host_config=host
        )
        try:
            client.start(made["Id"])
            status = int(client.wait(made["Id"])["StatusCode"])
            output = client.logs(made["Id"], stdout=True, stderr=False)
            said = client.logs(made["Id"], stdout=False, stderr=True) if status else b""
        finally:
            client.remove_container(made["Id"], v=True, force=True)
        return status, output.decode(errors="replace"), said.decode(errors="replace")

    try:
        return told(work)
    except LabError as error:
        if isinstance(error.__cause__, ImageNotFound | NotFound) and NETNS_IMAGE in str(error):
            mend = "`make images` builds it"
            raise LabError(f"the image {NETNS_IMAGE} is not here", mend=mend) from error
        raise


def remove_sidecars(engine: Engine, run: str) -> tuple[str, ...]:
    """Remove the sidecars of a run; only for who knows that the lab that made them is dead."""
    there = engine.standing(run, SIDECAR)
    for box in there:
        engine.remove(Found("container", box.id, SIDECAR))
    return tuple(f"a dead lab's {SIDECAR} {box.id[:12]}" for box in there)


def _own(marks: Mapping[str, str]) -> dict[str, str]:
    """The labels of the run, and nothing of the service's own."""
    return {name: value for name, value in marks.items() if name.startswith("crosstalk.")}


def _last(said: str) -> str:
    """The last line that is no mere warning."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith("#")), "")
