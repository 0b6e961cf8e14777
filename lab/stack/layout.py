"""What another process has to know of a stack, kept in a label of its interposer. Pure.

A healer that finds a stack may have nothing else: no stack file, no folder, no journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from lab.engine.labels import packed, unpacked
from lab.stack.file import SystemFile
from lab.stack.plan import Plan, Proxy
from lab.stack.schema import AgentsBlock, StoresBlock, StubBlock

LAYOUT = "crosstalk.layout"
"""The label."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """A stack as it was laid out.

    may_end: services that end by themselves, and should; folder and mode: of the system.
    """

    proxies: tuple[Proxy, ...]
    agents: AgentsBlock | None = None
    stores: StoresBlock = StoresBlock()
    stubs: Mapping[str, StubBlock] = {}
    may_end: tuple[str, ...] = ()
    folder: str = ""
    mode: str = ""


def layout_of(system: SystemFile, plan: Plan, may_end: Iterable[str], mode: str) -> Layout:
    """What a later process has to know of a system in a mode, laid out by this plan."""
    return Layout(
        proxies=plan.proxies,
        agents=system.agents,
        stores=system.stores,
        stubs=system.stubs,
        may_end=tuple(sorted(may_end)),
        folder=str(system.folder),
        mode=mode,
    )


def label_of(layout: Layout) -> dict[str, str]:
    """The label that the interposer is created with."""
    return packed(LAYOUT, layout)


def layout_in(labels: Mapping[str, str]) -> Layout:
    """The layout from the interposer's labels. Raises LabError for a stack without one."""
    return unpacked(
        LAYOUT,
        labels,
        Layout,
        what="its interposer does not tell how the stack is laid out",
        mend="an older lab started it; `lab down`, `lab up`",
    )
