"""Takes hold of a stack that somebody else started and left up; everything is found by its labels.

A stack whose lab is alive is refused: two labs that break one stack explain nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

from anyio import to_thread

from lab.engine.api import FOLDER, HANDS_SECONDS, Engine, engine
from lab.engine.things import Standing
from lab.errors import LabError, UsageError
from lab.hands import Lab
from lab.hands.real.links import ToxiproxyLinks
from lab.stack.file import CONTROL_PORT
from lab.stack.hands import LABS_OWN, hands
from lab.stack.layout import Layout, layout_in
from lab.stack.plan import OBSERVER, TOXIPROXY
from lab.stack.revisited import Visit, VisitingQuotas, visit
from lab.system import Endpoint


class UnansweredError(LabError):
    """The stack's interposer does not do its work: another process of it may."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A kept stack: its run, what faults may touch, and the names they may be given.

    folder: where its journal is; the one it was started in. ids: service -> container, the lab's
    own too; ports: its interposer's, inside -> on this host.

    A tenant is called by its id in the system: nobody provisioned it under a name of the lab's.
    """

    run: str
    lab: Lab
    links: ToxiproxyLinks
    folder: Path
    layout: Layout
    link_names: tuple[str, ...]
    service_names: tuple[str, ...]
    ids: Mapping[str, str]
    ports: Mapping[int, int]

    async def visit(self) -> Visit:
        """A way to talk to it. Raises UsageError where there is none."""
        with engine() as client:
            environments = {
                name: (await to_thread.run_sync(client.placed, self.ids[name])).environment
                for name in self.service_names
            }
        return visit(self.layout, self.ports, environments)


class _Itself(dict[str, str]):
    """Every tenant's name is its id."""

    def __missing__(self, name: str) -> str:
        return name


@asynccontextmanager
async def attached(run: str = "") -> AsyncGenerator[Attached]:
    """Hold the handles of a kept stack, by default the newest; the stack stays as it is.

    Raises UsageError when no such stack is up, UnansweredError when its interposer does not answer.
    """
    with engine(HANDS_SECONDS) as client:
        boxes = await to_thread.run_sync(kept_boxes, client, run)
        run, ids = boxes[0].run, {box.service: box.id for box in boxes}
        if TOXIPROXY not in ids:
            raise LabError("its Toxiproxy is gone", where=run, mend="`lab down`, `lab up`")
        placed = await to_thread.run_sync(client.placed, ids[TOXIPROXY])
        if CONTROL_PORT not in placed.ports:
            raise UnansweredError("its Toxiproxy does not run", where=run, mend="`lab heal RUN`")
        layout = layout_in(placed.labels)
        control = Endpoint("127.0.0.1", placed.ports[CONTROL_PORT])
        proxies = await _proxies(control, layout)
        links = ToxiproxyLinks(control, proxies)
        try:
            lab = hands(client, links, ids, run, layout)
            found = Attached(
                run=run,
                lab=replace(lab, tenants=_Itself()),
                links=links,
                folder=Path(placed.labels.get(FOLDER, "")),
                layout=layout,
                link_names=names_of(proxies),
                service_names=tuple(sorted(set(ids) - set(LABS_OWN))),
                ids=ids,
                ports=placed.ports,
            )
            yield replace(found, lab=replace(found.lab, quotas=VisitingQuotas(found.visit)))
        finally:
            links.close()


def kept_boxes(client: Engine, run: str) -> tuple[Standing, ...]:
    """As `chosen`, and only what is asked for where it is there; blocking."""
    mine = client.standing(run)
    return chosen(mine if any(box.kept for box in mine) else client.standing(), run)


def chosen(boxes: Sequence[Standing], run: str) -> tuple[Standing, ...]:
    """The containers of one kept stack. Raises UsageError with the runs there are."""
    kept = sorted({box.run for box in boxes if box.kept})
    if not kept:
        raise UsageError("no stack is kept up", mend="`lab up` stands one up and leaves it")
    wanted = run or kept[-1]
    if wanted not in kept:
        raise UsageError(f"no kept stack {wanted!r}", mend=f"there are: {', '.join(kept)}")
    return tuple(box for box in boxes if box.run == wanted)


def names_of(proxies: Sequence[str]) -> tuple[str, ...]:
    """Every name a fault may use: each proxy's own, and the link it is a part of."""
    return tuple(sorted({name for each in proxies for name in (each.partition("@")[0], each)}))


async def _proxies(control: Endpoint, layout: Layout) -> tuple[str, ...]:
    """All proxies but the observers', which no fault may touch. Raises UnansweredError."""
    try:
        with closing(ToxiproxyLinks(control, ())) as links:
            there = await links.toxics()
    except LabError as silence:
        raise UnansweredError(silence.what, where=silence.where, mend=silence.mend) from silence
    if layout.proxies and not there:
        what = "its Toxiproxy has no proxies any more"
        raise UnansweredError(what, where=str(control), mend="`lab heal RUN`")
    return tuple(name for name in there if not name.startswith(f"{OBSERVER}@"))
